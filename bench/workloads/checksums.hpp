#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace pinion::bench {

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
[[nodiscard]] inline std::uint64_t fnv1a64(std::string_view text) noexcept {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char letter : text) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001B3u;
  }
  return hash;
}

/// A word's part of the checksum of a word count: the sum of all parts modulo 2^64.
[[nodiscard]] inline std::uint64_t word_part(std::string_view word, std::uint64_t count) noexcept {
  return fnv1a64(word) * count;
}

/// splitmix64's finalizer: every bit of the answer depends on every bit of `value`.
[[nodiscard]] inline std::uint64_t mix64(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

/// A group's part of the checksum of a group-by: differs when a bit of the sum differs.
[[nodiscard]] inline std::uint64_t group_part(std::uint32_t key, double sum) noexcept {
  return mix64(mix64(key + 1u) ^ std::bit_cast<std::uint64_t>(sum));
}

/// A hash of `size_bytes` bytes, a multiple of 4.
[[nodiscard]] inline std::uint64_t record_hash(const char* bytes, std::size_t size_bytes) noexcept {
  std::uint64_t hash = size_bytes;
  for (std::size_t i = 0; i < size_bytes; i += 4) {
    std::uint32_t piece = 0;
    std::memcpy(&piece, bytes + i, sizeof(piece));
    hash = (std::rotl(hash, 5) ^ piece) * 0x9E3779B97F4A7C15u;
  }
  return mix64(hash);
}

}  // namespace pinion::bench
