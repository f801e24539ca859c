#pragma once

#include <cstddef>
#include <cstdint>

namespace pinion::detail {

/// As checksum(), with the same answers, in nearly half of the time where the bytes are in a cache.
/// Precondition: the CPU has AVX2. On x86-64 only.
[[nodiscard]] std::uint64_t checksum_avx2(const void* bytes, std::size_t size) noexcept;

}  // namespace pinion::detail
