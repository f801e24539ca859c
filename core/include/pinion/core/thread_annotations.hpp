#pragma once

#include <mutex>

/// Lock discipline that Clang checks with -Wthread-safety; empty under GCC.
#if defined(__clang__)
#define PINION_TSA(x) __attribute__((x))
#else
#define PINION_TSA(x)
#endif
#define PINION_GUARDED_BY(mutex) PINION_TSA(guarded_by(mutex))
#define PINION_REQUIRES(mutex) PINION_TSA(requires_capability(mutex))
#define PINION_EXCLUDES(mutex) PINION_TSA(locks_excluded(mutex))
/// For a function that runs under a lock which the analysis cannot see, through a callback.
#define PINION_LOCKED_BY_CALLER PINION_TSA(no_thread_safety_analysis)

namespace pinion {

/// std::mutex, visible to the analysis.
class PINION_TSA(capability("mutex")) Mutex {
 public:
  void lock() PINION_TSA(acquire_capability()) { mutex_.lock(); }
  void unlock() PINION_TSA(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class PINION_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) PINION_TSA(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() PINION_TSA(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace pinion
