#include "cuda/cuda_host_memory.hpp"

#include <pinion/core/assert.hpp>

#include "cuda/touch_pages.hpp"

namespace pinion {

int CudaHostMemory::add(int device, std::span<std::byte> memory) {
  const MutexLock lock(mutex_);
  const auto found = entries_.find(memory.data());
  if (found != entries_.end() && found->second.size_bytes == memory.size()) {
    ++found->second.user_count;
    return 0;
  }
  // CUDA takes pages one after the other, which takes much longer where they are not there yet.
  touch_pages(memory);
  const int error = runtime_.register_host(device, memory);
  if (error == 0) {
    entries_[memory.data()] = {.size_bytes = memory.size(), .user_count = 1};
  }
  return error;
}

void CudaHostMemory::remove(int device, std::span<std::byte> memory) {
  const MutexLock lock(mutex_);
  const auto found = entries_.find(memory.data());
  PINION_ASSERT(found != entries_.end());
  if (--found->second.user_count > 0) {
    return;
  }
  entries_.erase(found);
  // An error is that of a device that does nothing any more; its memory goes with the process.
  static_cast<void>(runtime_.unregister_host(device, memory.data()));
}

}  // namespace pinion
