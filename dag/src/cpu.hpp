#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pinion {

/// Tells the processor that the thread looks at something again and again.
inline void pause_cpu() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm __volatile__("isb");
#endif
}

}  // namespace pinion
