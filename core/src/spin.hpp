#pragma once

#include <chrono>
#include <thread>

#include <pinion/core/detail/pause_cpu.hpp>

namespace pinion {

/// Waits a little longer each time, for what another thread does soon or not so soon: first it
/// pauses for about a microsecond, then it offers the CPU, then it sleeps. It begins with so long a
/// pause because whoever looks takes the cache line from the thread that is about to change it.
class Backoff {
 public:
  void wait() noexcept {
    constexpr unsigned kPauses = 64;
    constexpr unsigned kYields = 64;
    constexpr std::chrono::microseconds kSleep(50);
    ++count_;
    if (count_ == 1) {
      for (unsigned i = 0; i < kPauses; ++i) {
        pause_cpu();
      }
    } else if (count_ <= 1 + kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kSleep);
    }
  }

 private:
  unsigned count_ = 0;
};

}  // namespace pinion
