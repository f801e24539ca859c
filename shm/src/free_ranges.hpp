#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace pinion {

/// Which bytes of a slab are free. The lowest range that is large enough is used first, so that
/// what was used last, and is still in the cache, is used again.
///
/// Thread safety: none.
class FreeRanges {
 public:
  FreeRanges(std::uint64_t begin, std::uint64_t end) : ranges_{{begin, end}}, size_(end - begin) {}

  /// Where `size_bytes` of them begin; empty when no range is that large.
  [[nodiscard]] std::optional<std::uint64_t> take(std::uint64_t size_bytes);

  /// Precondition: the bytes were taken.
  void give_back(std::uint64_t begin, std::uint64_t size_bytes);

  [[nodiscard]] bool all_free() const noexcept {
    return ranges_.size() == 1 && ranges_[0].end - ranges_[0].begin == size_;
  }

 private:
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };

  std::vector<Range> ranges_;  // In order; no two touch, none is empty.
  std::uint64_t size_;
};

}  // namespace pinion
