#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pinion::engine {

/// Ranges of prefixes, one a partition, that a sample says are about equally full. A prefix that
/// fills more than a range has one of its own.
///
/// Thread safety: immutable.
class SortRanges {
 public:
  /// One range for everything.
  SortRanges() : SortRanges({}, 1) {}

  /// At most 2 * `wanted` ranges. The same sample, in any order, gives the same ranges.
  SortRanges(std::vector<std::uint64_t> sample, std::uint32_t wanted);

  [[nodiscard]] std::uint32_t count() const noexcept {
    return static_cast<std::uint32_t>(begins_.size() + 1);
  }

  /// The range that holds `prefix`.
  [[nodiscard]] std::uint32_t of(std::uint64_t prefix) const noexcept {
    const std::uint64_t cell = prefix < least_ ? 0 : (prefix - least_) >> shift_;
    const std::size_t at = cell < kCellCount ? static_cast<std::size_t>(cell) : kCellCount - 1;
    std::uint32_t low = first_[at];
    std::uint32_t high = first_[at + 1];
    while (low < high) {
      const std::uint32_t middle = (low + high) / 2;
      if (begins_[middle] <= prefix) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

 private:
  // Small enough for the first-level cache; most cells then hold one bound or none.
  static constexpr std::size_t kCellCount = 4096;

  std::vector<std::uint64_t> begins_;  // Of all ranges but the first.
  std::uint64_t least_ = 0;
  unsigned shift_ = 0;
  // For each cell of prefixes the first bound that may lie above its first one.
  std::vector<std::uint32_t> first_;
};

}  // namespace pinion::engine
