#pragma once

#include <condition_variable>
#include <cstddef>

#include <pinion/core/detail/drop_count.hpp>
#include <pinion/core/thread_annotations.hpp>

namespace pinion {

/// Counts what has not ended yet, for the one thread that waits for the end of all of it.
///
/// Thread safety: add() and drop() from any thread, wait() from one.
class CountDown {
 public:
  CountDown() = default;
  CountDown(const CountDown&) = delete;
  CountDown& operator=(const CountDown&) = delete;

  /// Precondition: the caller holds a count of its own, or is the one that will wait.
  void add(std::size_t count = 1) noexcept { count_.add(count); }

  /// After it the caller may not touch this object, which the waiting thread may destroy.
  void drop() noexcept PINION_EXCLUDES(mutex_);

  /// What happened before each drop() happened before this returns. It may be used again then.
  /// Blocks: until there was a drop() for each add().
  void wait() noexcept PINION_EXCLUDES(mutex_);

 private:
  // Who has made the last drop, and who waits, touch the members below, and nobody else.
  detail::DropCount<> count_;
  Mutex mutex_;
  std::condition_variable_any changed_;
  bool all_dropped_ PINION_GUARDED_BY(mutex_) = false;
};

}  // namespace pinion
