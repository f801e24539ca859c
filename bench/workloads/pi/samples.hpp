#pragma once

#include <cstdint>

namespace pinion::bench {

/// How many of the samples [begin, end) lie in the quarter circle. A sample's coordinates are the
/// halves of a hash of its number (murmur3's finalizer, Austin Appleby), 15 bits each.
/// The compiler makes a loop of vectors of it, so this is what it is built with that counts: both
/// contenders are.
[[nodiscard]] inline std::uint64_t count_inside(std::uint64_t begin, std::uint64_t end) noexcept {
  std::uint64_t inside = 0;
  while (begin < end) {
    // Runs within which the number's upper half is constant, short enough for a 32-bit count.
    constexpr std::uint64_t kRun = std::uint64_t{1} << 20;
    const std::uint64_t run_end = begin / kRun * kRun + kRun;
    const std::uint64_t stop = run_end < end ? run_end : end;
    const auto salt = static_cast<std::uint32_t>(begin >> 32) * 0x9E3779B9u;
    const auto first = static_cast<std::uint32_t>(begin);
    const auto count = static_cast<std::uint32_t>(stop - begin);
    std::uint32_t run_inside = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      std::uint32_t hash = (first + i) ^ salt;
      hash = (hash ^ (hash >> 16)) * 0x85EBCA6Bu;
      hash = (hash ^ (hash >> 13)) * 0xC2B2AE35u;
      hash ^= hash >> 16;
      const std::uint32_t x = hash & 0x7FFFu;
      const std::uint32_t y = hash >> 17;
      run_inside += x * x + y * y < (1u << 30) ? 1u : 0u;
    }
    inside += run_inside;
    begin = stop;
  }
  return inside;
}

}  // namespace pinion::bench
