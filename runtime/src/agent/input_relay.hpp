#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// Copies standard input to several ranks, and to the relays of other hosts, each of which reads
/// the whole of it. Bounded: no rank is ahead of another by more than 64 KiB and what its pipe
/// holds, so one that does not read holds the others back until it ends or closes its input.
///
/// Thread safety: none. Nothing blocks, as long as standard input can be waited for.
class InputRelay {
 public:
  /// Copies from `source`, which stays its owner's; -1: what feed() is given.
  explicit InputRelay(int source);

  /// A pipe for one more rank to read. Precondition: nothing was copied yet.
  /// Errors: kResourceExhausted when descriptors are short.
  [[nodiscard]] Result<UniqueFd> add_rank();

  // Of a relay with a source: other hosts, each of which feeds a relay of its own.

  /// Precondition: nothing was copied yet.
  void add_host(std::uint32_t host) { hosts_[host] = true; }

  /// What is to be sent to each of them, once for each block; an empty block is the end.
  [[nodiscard]] std::optional<std::span<const std::byte>> take_block();

  /// That host's ranks have taken the block; or the host is gone.
  void host_took(std::uint32_t host);
  void host_gone(std::uint32_t host) { hosts_.erase(host); }

  // Of a relay without one.

  /// Copies this block; an empty one is the end.
  /// Precondition: the one before was taken, by take_readiness().
  void feed(std::span<const std::byte> block);

  /// Whether the ranks have taken the last block since; true once for each.
  [[nodiscard]] bool take_readiness();

  /// Adds what has to be waited for, for serve(); nothing once all is copied.
  void watch(std::vector<pollfd>& watched) const;

  /// Copies what can be copied without waiting. Precondition: `watched` is what watch() added.
  void serve(std::span<const pollfd> watched);

 private:
  struct Reader {
    UniqueFd writer;
    std::size_t taken = 0;  // Of the block.
  };

  void read_block();
  void begin_block();
  void write_block();
  void write_to(Reader& reader);
  [[nodiscard]] bool block_is_taken() const;

  int source_;
  bool is_over_ = false;
  bool is_news_ = false;  // Whether the block is to be sent on, or to be answered when it is taken.
  std::vector<std::byte> block_;  // What some reader has not taken yet.
  std::vector<Reader> readers_;
  std::map<std::uint32_t, bool> hosts_;  // Whether each has taken the block.
};

}  // namespace pinion
