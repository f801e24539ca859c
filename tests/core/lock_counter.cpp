#include "lock_counter.hpp"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cstdlib>

namespace {

using Lock = int (*)(pthread_mutex_t*);

std::atomic<std::uint64_t> count = 0;

// Not a static variable of the function below, whose initialisation could take a lock.
std::atomic<Lock> lock_of_the_system = nullptr;

}  // namespace

std::uint64_t pinion::testing_support::lock_count() noexcept {
  return count;
}

extern "C" int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  ++count;
  Lock lock = lock_of_the_system.load(std::memory_order_relaxed);
  if (lock == nullptr) {
    lock = reinterpret_cast<Lock>(::dlsym(RTLD_NEXT, "pthread_mutex_lock"));
    if (lock == nullptr) {
      std::abort();
    }
    lock_of_the_system.store(lock, std::memory_order_relaxed);
  }
  return lock(mutex);
}
