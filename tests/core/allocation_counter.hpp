#pragma once

#include <cstdint>

namespace pinion::testing_support {

/// How often operator new was called in this program, by any thread. Link allocation_counter.cpp,
/// which replaces it.
[[nodiscard]] std::uint64_t allocation_count() noexcept;

}  // namespace pinion::testing_support
