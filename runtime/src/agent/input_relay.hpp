#pragma once

#include <poll.h>

#include <cstddef>
#include <span>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// Copies our standard input to several ranks, each of which reads the whole of it. Bounded: no
/// rank is ahead of another by more than 64 KiB and what its pipe holds, so one that does not read
/// holds the others back until it ends or closes its input.
///
/// Thread safety: none. Nothing blocks, as long as standard input can be waited for.
class InputRelay {
 public:
  /// Copies from `source`, which stays its owner's.
  explicit InputRelay(int source);

  /// A pipe for one more rank to read. Precondition: serve() was not called.
  /// Errors: kResourceExhausted when descriptors are short.
  [[nodiscard]] Result<UniqueFd> add_rank();

  /// Adds what has to be waited for, for serve(); nothing once all is copied.
  void watch(std::vector<pollfd>& watched) const;

  /// Copies what can be copied without waiting. Precondition: `watched` is what watch() added.
  void serve(std::span<const pollfd> watched);

 private:
  struct Reader {
    UniqueFd writer;
    std::size_t taken = 0;  // Of the block.
  };

  void write_to(Reader& reader);
  [[nodiscard]] bool block_is_taken() const;

  int source_;
  bool is_over_ = false;
  std::vector<char> block_;  // What some reader has not taken yet.
  std::vector<Reader> readers_;
};

}  // namespace pinion
