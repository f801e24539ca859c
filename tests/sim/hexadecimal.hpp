#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace pinion::protocol {

/// The bytes that two digits each stand for; the digits above 9 in small letters.
inline std::vector<std::byte> bytes_of(std::string_view digits) {
  const auto nibble = [](char digit) {
    return static_cast<std::byte>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
  };
  std::vector<std::byte> bytes(digits.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = nibble(digits[2 * i]) << 4 | nibble(digits[2 * i + 1]);
  }
  return bytes;
}

}  // namespace pinion::protocol
