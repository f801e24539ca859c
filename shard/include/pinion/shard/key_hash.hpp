#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace pinion {

/// XXH3 of the bytes: the same on every host.
[[nodiscard]] std::uint64_t hash_bytes(std::span<const std::byte> bytes) noexcept;

[[nodiscard]] inline std::uint64_t hash_text(std::string_view text) noexcept {
  return hash_bytes(std::as_bytes(std::span(text.data(), text.size())));
}

/// The finaliser of SplitMix64: one to one, every bit of the value reaches the high and the low
/// bits of the answer, and 0 stays 0.
[[nodiscard]] constexpr std::uint64_t mix_bits(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

/// The partition that owns a hash. Partitions are ranges of hashes, in order, so what lies in the
/// order of hashes lies partition after partition.
[[nodiscard]] constexpr std::uint32_t partition_of_hash(std::uint64_t hash,
                                                        std::uint32_t partition_count) noexcept {
  return static_cast<std::uint32_t>(((hash >> 32) * partition_count) >> 32);
}

}  // namespace pinion
