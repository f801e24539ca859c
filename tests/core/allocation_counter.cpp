// In a file of its own, so that no compiler sees free() beside the operator new that it belongs to.

#include "allocation_counter.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::uint64_t> count = 0;
thread_local bool is_refused = false;

void* allocate(std::size_t size, std::size_t alignment) {
  ++count;
  void* const memory =
      is_refused ? nullptr
                 : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}

}  // namespace

std::uint64_t pinion::testing_support::allocation_count() noexcept {
  return count;
}

pinion::testing_support::RefusedAllocations::RefusedAllocations() noexcept {
  is_refused = true;
}
pinion::testing_support::RefusedAllocations::~RefusedAllocations() {
  is_refused = false;
}

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
