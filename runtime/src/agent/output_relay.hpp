#pragma once

#include <poll.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "agent/line_buffer.hpp"

namespace pinion {

/// Passes what ranks write on to our own standard output and standard error, or to the head of the
/// job, line by line, so that no line has words of two of them; and what the agent itself says. A
/// line is passed on when it is whole; the last one of a rank as it is, and ended when another
/// follows.
///
/// Bounded: where our output is not taken, ranks wait as they would in front of it.
/// Thread safety: none. Nothing blocks.
class OutputRelay {
 public:
  /// What a rank is to write to.
  struct Ends {
    UniqueFd output;
    UniqueFd errors;
  };

  /// What follows of one output, on its way to the head.
  struct Block {
    bool on_errors = false;
    std::vector<std::byte> bytes = {};
  };

  /// Where `tags`, lines of a rank begin with "[3] ", or "[3,err] " on standard error.
  explicit OutputRelay(bool tags);

  // Of an agent whose output goes to the head.

  /// From now on nothing is written here: take_block() gives it out.
  void begin_to_send();

  /// What is to be sent next, once; nothing where there is none, or the head has yet to take what
  /// was given out before.
  [[nodiscard]] std::optional<Block> take_block();

  /// The head has taken so much of that output.
  void head_took(bool of_errors, std::uint64_t byte_count);

  /// Nobody reads that output any more.
  void head_closed(bool of_errors);

  /// The head is gone: what it has not been sent of standard error is written here, and nothing of
  /// the ranks any more.
  void end_sending();

  /// Whether all that was printed was given out and taken. True where nothing goes to the head.
  [[nodiscard]] bool head_has_all() const noexcept;

  /// Pipes for one life of a rank. Errors: kResourceExhausted when descriptors are short.
  [[nodiscard]] Result<Ends> add_rank(std::uint32_t rank);

  /// A pipe for what the remote shell that reaches that host says; it goes to standard error.
  /// Errors: as add_rank().
  [[nodiscard]] Result<UniqueFd> add_shell(std::uint32_t host);

  /// How much the head is to have of standard output, whether or not it was sent yet; 0 where
  /// nothing goes to it.
  [[nodiscard]] std::uint64_t output_bytes() const noexcept {
    return sends_ ? targets_[0].queue.put_bytes() : 0;
  }

  /// Whether nothing more is to come for that output until more of it is written.
  [[nodiscard]] bool is_full(bool of_errors) const noexcept;

  /// Whether nobody reads that output any more.
  [[nodiscard]] bool is_closed(bool of_errors) const noexcept;

  /// Adds a line to standard error.
  void say(std::string_view line);

  /// Adds a line to standard output.
  void print(std::string_view line);

  /// Adds lines, of which the last may have no end.
  void put(bool on_errors, std::string_view lines);

  /// Adds what has to be waited for, for read().
  void watch(std::vector<pollfd>& watched) const;

  /// Takes what ranks have written. Precondition: `watched` is what watch() added, and nothing was
  /// called since but poll().
  void read(std::span<const pollfd> watched);

  /// Takes what the rank has written up to now.
  void read_rank(std::uint32_t rank);

  /// The same, as far as it would be read by read().
  void catch_up_with(std::uint32_t rank);

  /// Takes what the remote shell of that host has said up to now.
  void read_shell(std::uint32_t host);

  /// Takes what is there, also lines without an end, and what is written later is lost.
  void read_rest();

  /// Whether something waits to be written.
  [[nodiscard]] bool has_waiting() const noexcept;

  /// Whether standard error is between two lines and nothing waits for it.
  [[nodiscard]] bool errors_are_idle() const noexcept;

  /// Writes what can be written without waiting.
  void write();

  /// Why our output cannot be written; OK also where its reader has gone, as the ranks are told
  /// that in the usual way.
  [[nodiscard]] const Status& status() const noexcept { return status_; }

 private:
  struct Target {
    int descriptor = -1;
    bool is_file = false;  // Takes everything at once.
    bool is_broken = false;
    LineQueue queue = {};
    std::size_t under_way = 0;  // Bytes that the head has yet to take.
  };
  struct Source {
    bool is_shell = false;
    std::uint32_t number = 0;  // Of the rank, or of the shell's host.

    friend auto operator<=>(const Source&, const Source&) = default;
  };
  struct Stream {
    UniqueFd reader;
    Source source;
    std::size_t target = 0;
    LineBuffer lines;
  };

  [[nodiscard]] std::size_t target_of(bool errors) const noexcept {
    return errors ? errors_target_ : 0;
  }
  [[nodiscard]] Result<UniqueFd> add_stream(Source source, bool errors);
  bool read_once(Stream& stream);
  void read_all(Source source);
  void remove_ended();
  void write(Target& target);
  void give_up(Target& target, int error);

  bool tags_;
  bool sends_ = false;             // Whether it goes to the head.
  std::array<Target, 2> targets_;  // Standard output and standard error.
  std::size_t errors_target_ = 1;  // The first one too where both are the same file.
  std::vector<Stream> streams_;
  Status status_;
};

}  // namespace pinion
