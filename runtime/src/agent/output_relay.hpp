#pragma once

#include <poll.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "agent/line_buffer.hpp"

namespace pinion {

/// Passes what ranks write on to our own standard output and standard error, line by line, so that
/// no line has words of two of them; and what the agent itself says. A line is passed on when it is
/// whole; the last one of a rank as it is, and ended when another follows.
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

  /// Where `tags`, lines of a rank begin with "[3] ", or "[3,err] " on standard error.
  explicit OutputRelay(bool tags);

  /// Pipes for one life of a rank. Errors: kResourceExhausted when descriptors are short.
  [[nodiscard]] Result<Ends> add_rank(std::uint32_t rank);

  /// Pipes for what the agent of another host passes on, whose lines have their tags already.
  /// Errors: as add_rank().
  [[nodiscard]] Result<Ends> add_host(std::uint32_t host);

  /// What was read so far of the standard output of that host; all that can be once it has ended.
  [[nodiscard]] std::uint64_t bytes_of_host(std::uint32_t host) const noexcept;

  /// What was given so far to our standard output, whether or not it is written yet.
  [[nodiscard]] std::uint64_t output_bytes() const noexcept {
    return targets_[0].queue.put_bytes();
  }

  /// Whether standard output is not read from until more of it is written.
  [[nodiscard]] bool output_is_full() const noexcept;

  /// Adds a line to standard error.
  void say(std::string_view line);

  /// Adds a line to standard output.
  void print(std::string_view line);

  /// Adds what has to be waited for, for read().
  void watch(std::vector<pollfd>& watched) const;

  /// Takes what ranks have written. Precondition: `watched` is what watch() added, and nothing was
  /// called since but poll().
  void read(std::span<const pollfd> watched);

  /// Takes what the rank has written up to now.
  void read_rank(std::uint32_t rank);

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
  };
  struct Source {
    bool is_host = false;
    std::uint32_t number = 0;

    friend auto operator<=>(const Source&, const Source&) = default;
  };
  struct Stream {
    UniqueFd reader;
    Source source;
    std::size_t target = 0;
    bool errors = false;
    LineBuffer lines;
  };

  [[nodiscard]] Result<Ends> add(Source source);
  [[nodiscard]] Result<UniqueFd> add_stream(Source source, bool errors);
  bool read_once(Stream& stream);
  void remove_ended();
  void write(Target& target);
  void give_up(Target& target, int error);

  bool tags_;
  std::array<Target, 2> targets_;  // Standard output and standard error.
  std::size_t errors_target_ = 1;  // The first one too where both are the same file.
  std::vector<Stream> streams_;
  std::map<std::uint32_t, std::uint64_t> host_bytes_;  // Of standard outputs.
  Status status_;
};

}  // namespace pinion
