// In a file of its own, so that no compiler sees free() beside the operator new that it belongs to.

#include "byte_counter.hpp"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> held = 0;

void* allocate(std::size_t size, std::size_t alignment) {
  void* const memory = std::aligned_alloc(
      alignment, (std::max(size, std::size_t{1}) + alignment - 1) / alignment * alignment);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  held += ::malloc_usable_size(memory);
  return memory;
}

void give_back(void* memory) noexcept {
  held -= memory == nullptr ? 0 : ::malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

std::size_t pinion::testing_support::held_bytes() noexcept {
  return held;
}

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
// The address sanitizer has others for arrays, and that throw nothing, that do not call this one.
void* operator new[](std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return allocate(size, alignof(std::max_align_t));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  give_back(memory);
}
void operator delete[](void* memory) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  give_back(memory);
}
