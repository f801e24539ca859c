#include "engine/sort_ranges.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

namespace pinion::engine {

SortRanges::SortRanges(std::vector<std::uint64_t> sample, std::uint32_t wanted) {
  std::ranges::sort(sample);
  for (std::uint64_t i = 1; i < wanted && !sample.empty(); ++i) {
    const std::uint64_t bound = sample[i * sample.size() / wanted];
    if (begins_.empty() || bound > begins_.back()) {
      begins_.push_back(bound);
    } else if (bound == begins_.back() && bound < std::numeric_limits<std::uint64_t>::max()) {
      // One prefix fills a whole range: what comes after it begins the next.
      begins_.push_back(bound + 1);
    }
  }
  if (!begins_.empty()) {
    least_ = begins_.front();
    const auto bits = static_cast<unsigned>(std::bit_width(begins_.back() - least_));
    const auto cell_bits = static_cast<unsigned>(std::bit_width(kCellCount - 1));
    shift_ = bits > cell_bits ? bits - cell_bits : 0;
  }
  first_.resize(kCellCount + 1, count() - 1);
  for (std::size_t cell = 0; cell < kCellCount; ++cell) {
    const std::uint64_t begin = least_ + (static_cast<std::uint64_t>(cell) << shift_);
    const bool overflows = begin < least_;
    // The first cell also takes what lies below it.
    first_[cell] = cell == 0   ? 0
                   : overflows ? count() - 1
                               : static_cast<std::uint32_t>(
                                     std::ranges::lower_bound(begins_, begin) - begins_.begin());
  }
}

}  // namespace pinion::engine
