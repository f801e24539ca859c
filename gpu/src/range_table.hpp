#pragma once

#include <cstdint>
#include <map>

namespace pinion {

/// Ranges of addresses that do not overlap, and how many bytes they are.
///
/// Thread safety: none.
class RangeTable {
 public:
  /// Whether a byte of these is in a range.
  [[nodiscard]] bool overlaps(std::uint64_t begin, std::uint64_t size_bytes) const;

  /// Whether all of these are in one range. No bytes are in the range that they begin or end.
  [[nodiscard]] bool contains(std::uint64_t begin, std::uint64_t size_bytes) const;

  /// Precondition: they overlap no range and are not empty.
  void add(std::uint64_t begin, std::uint64_t size_bytes);

  /// Precondition: a range begins there.
  void remove(std::uint64_t begin);

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  std::map<std::uint64_t, std::uint64_t> sizes_;  // By where they begin.
  std::uint64_t bytes_ = 0;
};

}  // namespace pinion
