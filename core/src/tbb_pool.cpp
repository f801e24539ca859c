#include "tbb_pool.hpp"

#include <oneapi/tbb/global_control.h>

#include <pinion/core/thread_annotations.hpp>

namespace pinion {
namespace {

constexpr auto kParallelism = tbb::global_control::max_allowed_parallelism;

// Process-wide because the pool it limits is. A raw pointer, so that nothing of it is destroyed at
// exit; it is null whenever no share lives.
struct Pool {
  Mutex mutex;
  std::size_t worker_count PINION_GUARDED_BY(mutex) = 0;
  tbb::global_control* limit PINION_GUARDED_BY(mutex) = nullptr;
};
constinit Pool pool;

// The limit counts one thread outside the arenas, the program's own, hence the + 1. The next limit
// stands before the last one goes, so that the pool is never without one.
void resize(std::size_t worker_count) PINION_REQUIRES(pool.mutex) {
  tbb::global_control* const next =
      worker_count == 0 ? nullptr : new tbb::global_control(kParallelism, worker_count + 1);
  delete pool.limit;
  pool.limit = next;
  pool.worker_count = worker_count;
}

}  // namespace

TbbPoolShare::TbbPoolShare(std::size_t worker_count) : worker_count_(worker_count) {
  const MutexLock lock(pool.mutex);
  resize(pool.worker_count + worker_count);
}

TbbPoolShare::~TbbPoolShare() {
  const MutexLock lock(pool.mutex);
  resize(pool.worker_count - worker_count_);
}

TbbPoolShare::Limits TbbPoolShare::limits() {
  const MutexLock lock(pool.mutex);
  return {.granted = tbb::global_control::active_value(kParallelism) - 1,
          .needed = pool.worker_count};
}

}  // namespace pinion
