#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace pinion {

/// XXH3 of the bytes: the same on every host.
[[nodiscard]] std::uint64_t hash_bytes(std::span<const std::byte> bytes) noexcept;

[[nodiscard]] inline std::uint64_t hash_key(std::string_view key) noexcept {
  return hash_bytes(std::as_bytes(std::span(key.data(), key.size())));
}

/// The finaliser of SplitMix64, a bijection: every bit of the key reaches the high and the low
/// bits.
template <std::integral Key>
[[nodiscard]] constexpr std::uint64_t hash_key(Key key) noexcept {
  std::uint64_t hash = static_cast<std::uint64_t>(key) + 0x9e3779b97f4a7c15u;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  return hash ^ (hash >> 31);
}

/// The partition that owns a key. It comes from the high bits of the hash and tables choose slots
/// by the low ones: the keys of one partition still spread over the whole of a table.
[[nodiscard]] constexpr std::uint32_t partition_of_hash(std::uint64_t hash,
                                                        std::uint32_t partition_count) noexcept {
  return static_cast<std::uint32_t>(((hash >> 32) * partition_count) >> 32);
}

}  // namespace pinion
