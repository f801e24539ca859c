#pragma once

#include <cstdint>

namespace pinion::engine {

/// For each byte the numbers of its set bits, in order.
struct SetBits {
  alignas(64) std::uint8_t of[256][8] = {};
};

constexpr SetBits list_set_bits() noexcept {
  SetBits list;
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned count = 0;
    for (unsigned bit = 0; bit < 8; ++bit) {
      if ((byte >> bit & 1) != 0) {
        list.of[byte][count++] = static_cast<std::uint8_t>(bit);
      }
    }
  }
  return list;
}

inline constexpr SetBits kSetBits = list_set_bits();

}  // namespace pinion::engine
