#pragma once

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PINION_HAS_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define PINION_HAS_TSAN 1
#endif

#if defined(PINION_HAS_TSAN)
#include <sanitizer/tsan_interface.h>

extern "C" {
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace pinion {

/// Tells the thread sanitizer what oneTBB, which is not built for it, does between threads: who
/// takes sees what those that gave before had done. Without the sanitizer it is nothing.
///
/// Thread safety: all members from any thread.
class HandOver {
 public:
  HandOver() = default;
  HandOver(const HandOver&) = delete;
  HandOver& operator=(const HandOver&) = delete;

#if defined(PINION_HAS_TSAN)
  void give() noexcept {
    __tsan_release(this);
  }
  void take() noexcept {
    __tsan_acquire(this);
  }
#else
  void give() noexcept {}
  void take() noexcept {}
#endif
};

/// Hides from the thread sanitizer what the calling thread writes meanwhile: closures that oneTBB
/// keeps in memory of its own.
class HiddenWrites {
 public:
#if defined(PINION_HAS_TSAN)
  HiddenWrites() noexcept {
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~HiddenWrites() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  }
#else
  HiddenWrites() noexcept {}
  ~HiddenWrites() {}
#endif
  HiddenWrites(const HiddenWrites&) = delete;
  HiddenWrites& operator=(const HiddenWrites&) = delete;
};

}  // namespace pinion
