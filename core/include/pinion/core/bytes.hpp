#pragma once

#include <cstdint>
#include <string>

#include <pinion/core/assert.hpp>
#include <pinion/core/clock.hpp>

namespace pinion {

/// Sizes as people write them: `using namespace pinion::literals; auto size = 16_MiB;`. A size that
/// does not fit 64 bits does not compile.
inline namespace literals {

consteval std::uint64_t operator""_KiB(unsigned long long count) {
  PINION_ASSERT(count <= UINT64_MAX >> 10);
  return std::uint64_t{count} << 10;
}

consteval std::uint64_t operator""_MiB(unsigned long long count) {
  PINION_ASSERT(count <= UINT64_MAX >> 20);
  return std::uint64_t{count} << 20;
}

consteval std::uint64_t operator""_GiB(unsigned long long count) {
  PINION_ASSERT(count <= UINT64_MAX >> 30);
  return std::uint64_t{count} << 30;
}

}  // namespace literals

/// "1.50 GiB"; below 1 KiB "512 B". Rounded to two decimals.
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);

/// "350 ns", "1.20 ms", "59.94 s", "2 min 5 s", "3 h 4 min". Rounded to two decimals below a
/// minute, down to whole units above.
[[nodiscard]] std::string format_duration(Duration duration);

}  // namespace pinion
