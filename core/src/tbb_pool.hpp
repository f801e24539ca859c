#pragma once

#include <cstddef>

namespace pinion {

/// One Executor's part of oneTBB's thread pool: while it lives, the pool may grow by `worker_count`
/// threads. oneTBB has one pool a process and obeys the smallest of all live limits, so Executors
/// of one process must share a single limit, the sum of what they need.
///
/// Thread safety: distinct objects may be made and destroyed from any threads.
class TbbPoolShare {
 public:
  explicit TbbPoolShare(std::size_t worker_count);
  ~TbbPoolShare();

  TbbPoolShare(const TbbPoolShare&) = delete;
  TbbPoolShare& operator=(const TbbPoolShare&) = delete;

  /// The worker threads that oneTBB grants to the whole process, and how many all shares need.
  struct Limits {
    std::size_t granted = 0;
    std::size_t needed = 0;
  };
  [[nodiscard]] static Limits limits();

 private:
  std::size_t worker_count_;
};

}  // namespace pinion
