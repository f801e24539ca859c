#pragma once

#include <cstdint>

namespace pinion::engine {

/// Begins a sorted partition. The ends of lines follow, then at a multiple of 64 bytes the records.
struct SortedHeader {
  std::uint64_t magic = 0;
  std::uint64_t record_count = 0;
  std::uint64_t records_bytes = 0;
  std::uint64_t record_width = 0;  ///< 0: lines.
};
static_assert(sizeof(SortedHeader) == 32);

inline constexpr std::uint64_t kSortedMagic = 0x4445'5452'4f53'5031;  // "1PSORTED" in memory.

/// Where the records begin, counted from the header.
[[nodiscard]] constexpr std::uint64_t sorted_records_offset(const SortedHeader& header) noexcept {
  const std::uint64_t end_count = header.record_width == 0 ? header.record_count : 0;
  return (sizeof(SortedHeader) + end_count * sizeof(std::uint64_t) + 63) / 64 * 64;
}

}  // namespace pinion::engine
