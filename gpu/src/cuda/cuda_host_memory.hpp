#pragma once

#include <cstddef>
#include <map>
#include <span>

#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>

#include "cuda/cuda_runtime.hpp"

namespace pinion {

/// The host memory that is registered with CUDA, which takes memory once for a process, for all of
/// its devices: two devices that register the same bytes share it.
///
/// Thread safety: all members may be called from any thread.
class CudaHostMemory {
 public:
  /// Lifetime: borrows `runtime`.
  explicit CudaHostMemory(ICudaRuntime& runtime) : runtime_(runtime) {}

  /// CUDA's error number. Blocks: while the system pins the pages.
  [[nodiscard]] int add(int device, std::span<std::byte> memory) PINION_EXCLUDES(mutex_);

  /// Precondition: one add() for each.
  void remove(int device, std::span<std::byte> memory) PINION_EXCLUDES(mutex_);

 private:
  struct Entry {
    std::size_t size_bytes = 0;
    std::size_t user_count = 0;
  };

  ICudaRuntime& runtime_;
  Mutex mutex_;
  std::map<const std::byte*, Entry, std::less<>> entries_ PINION_GUARDED_BY(mutex_);
};

}  // namespace pinion
