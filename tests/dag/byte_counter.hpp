#pragma once

#include <cstddef>

namespace pinion::testing_support {

/// How many bytes operator new gave out in this program and did not get back, by any thread, with
/// what the allocator rounded them up to. Link byte_counter.cpp, which replaces it.
[[nodiscard]] std::size_t held_bytes() noexcept;

}  // namespace pinion::testing_support
