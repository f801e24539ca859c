#pragma once

#include <cstdint>

namespace pinion::testing_support {

/// How often operator new was called in this program, by any thread. Link allocation_counter.cpp,
/// which replaces it.
[[nodiscard]] std::uint64_t allocation_count() noexcept;

/// While it is there, operator new throws std::bad_alloc in the thread that has made it.
class RefusedAllocations {
 public:
  RefusedAllocations() noexcept;
  ~RefusedAllocations();
  RefusedAllocations(const RefusedAllocations&) = delete;
  RefusedAllocations& operator=(const RefusedAllocations&) = delete;
};

}  // namespace pinion::testing_support
