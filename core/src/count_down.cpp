#include "count_down.hpp"

namespace pinion {

// The last drop has what came before all others, and hands it to the waiting thread through the
// mutex.
void CountDown::drop() noexcept {
  if (count_.drop()) {
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
  count_.renew();
}

}  // namespace pinion
