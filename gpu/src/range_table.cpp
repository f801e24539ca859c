#include "range_table.hpp"

#include <iterator>

#include <pinion/core/assert.hpp>

namespace pinion {

bool RangeTable::overlaps(std::uint64_t begin, std::uint64_t size_bytes) const {
  const auto after = sizes_.lower_bound(begin);
  const bool meets_next = after != sizes_.end() && after->first - begin < size_bytes;
  const bool meets_last =
      after != sizes_.begin() && begin - std::prev(after)->first < std::prev(after)->second;
  return meets_next || meets_last;
}

bool RangeTable::contains(std::uint64_t begin, std::uint64_t size_bytes) const {
  const auto after = sizes_.upper_bound(begin);
  if (after == sizes_.begin()) {
    return false;
  }
  const auto& [first, range_bytes] = *std::prev(after);
  const std::uint64_t offset = begin - first;
  return offset <= range_bytes && size_bytes <= range_bytes - offset;
}

void RangeTable::add(std::uint64_t begin, std::uint64_t size_bytes) {
  PINION_ASSERT(size_bytes > 0);
  PINION_ASSERT(!overlaps(begin, size_bytes));
  sizes_.emplace(begin, size_bytes);
  bytes_ += size_bytes;
}

void RangeTable::remove(std::uint64_t begin) {
  const auto found = sizes_.find(begin);
  PINION_ASSERT(found != sizes_.end());
  bytes_ -= found->second;
  sizes_.erase(found);
}

}  // namespace pinion
