#include "free_ranges.hpp"

#include <algorithm>

#include <pinion/core/assert.hpp>

namespace pinion {

std::optional<std::uint64_t> FreeRanges::take(std::uint64_t size_bytes) {
  const auto range = std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& one) {
    return one.end - one.begin >= size_bytes;
  });
  if (range == ranges_.end()) {
    return {};
  }
  const std::uint64_t begin = range->begin;
  range->begin += size_bytes;
  if (range->begin == range->end) {
    ranges_.erase(range);
  }
  return begin;
}

void FreeRanges::give_back(std::uint64_t begin, std::uint64_t size_bytes) {
  const std::uint64_t end = begin + size_bytes;
  const auto behind = std::find_if(ranges_.begin(), ranges_.end(),
                                   [&](const Range& one) { return one.begin >= end; });
  const bool joins_behind = behind != ranges_.end() && behind->begin == end;
  const auto before = behind == ranges_.begin() ? ranges_.end() : behind - 1;
  PINION_ASSERT(before == ranges_.end() || before->end <= begin);
  const bool joins_before = before != ranges_.end() && before->end == begin;
  if (joins_before && joins_behind) {
    before->end = behind->end;
    ranges_.erase(behind);
  } else if (joins_before) {
    before->end = end;
  } else if (joins_behind) {
    behind->begin = begin;
  } else {
    ranges_.insert(behind, {begin, end});
  }
}

}  // namespace pinion
