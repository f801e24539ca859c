#pragma once

#include <cstdint>

namespace pinion {

/// Tells which keys there are, as far as two numbers can: how many, and the sum of their hashes.
/// Keys come and go in any order, one by one or many at once, for an addition each beside the hash.
/// Two sets of keys that differ have equal sums once in 2^64.
///
/// Thread safety: none for one object.
struct KeySum {
  std::uint64_t count = 0;
  std::uint64_t hashes = 0;  ///< Wraps around.

  void add(std::uint64_t hash) noexcept {
    ++count;
    hashes += hash;
  }
  void remove(std::uint64_t hash) noexcept {
    --count;
    hashes -= hash;
  }
  KeySum& operator+=(const KeySum& other) noexcept {
    count += other.count;
    hashes += other.hashes;
    return *this;
  }
  KeySum& operator-=(const KeySum& other) noexcept {
    count -= other.count;
    hashes -= other.hashes;
    return *this;
  }

  friend bool operator==(const KeySum&, const KeySum&) = default;
};

}  // namespace pinion
