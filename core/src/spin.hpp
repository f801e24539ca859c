#pragma once

#include <chrono>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pinion {

/// Tells the processor that the calling thread polls.
inline void pause_cpu() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm __volatile__("isb");
#endif
}

/// Waits a little longer each time, for what another thread does soon or not so soon: first it
/// polls, then it offers the CPU, then it sleeps.
class Backoff {
 public:
  void wait() noexcept {
    constexpr unsigned kPauses = 64;
    constexpr unsigned kYields = 64;
    constexpr std::chrono::microseconds kSleep(50);
    ++count_;
    if (count_ <= kPauses) {
      pause_cpu();
    } else if (count_ <= kPauses + kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kSleep);
    }
  }

 private:
  unsigned count_ = 0;
};

}  // namespace pinion
