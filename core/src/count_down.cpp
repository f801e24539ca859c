#include "count_down.hpp"

namespace pinion {

// Pairs with itself: the release of each drop is acquired by the one that takes the count to zero,
// which hands all of them to the waiting thread through the mutex.
void CountDown::drop() noexcept {
  if (count_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    const MutexLock lock(mutex_);
    all_dropped_ = true;
    changed_.notify_all();
  }
}

void CountDown::wait() noexcept {
  drop();
  const MutexLock lock(mutex_);
  while (!all_dropped_) {
    changed_.wait(mutex_);
  }
  all_dropped_ = false;
  count_.store(1, std::memory_order_relaxed);
}

}  // namespace pinion
