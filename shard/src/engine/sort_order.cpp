#include "engine/sort_order.hpp"

#include <hwy/contrib/sort/vqsort.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include <pinion/core/assert.hpp>

namespace pinion::engine {
namespace {

// Below this a comparison sort of a run is no slower than preparing words for a vectorised one.
constexpr std::size_t kSmallRun = 48;

constexpr std::uint64_t number_mask(std::size_t count) {
  return (std::uint64_t{1} << std::bit_width(count - 1)) - 1;
}

}  // namespace

std::vector<std::uint64_t> SortOrder::run(std::span<const std::uint64_t> prefixes) {
  const std::size_t count = prefixes.size();
  PINION_ASSERT(count == records_.size() && count <= std::uint64_t{1} << 32);
  numbers_.resize(count);
  if (count > 0) {
    sort_words(numbers_, prefixes);
    const std::uint64_t mask = number_mask(count);
    if (!is_exact_ || !keys_.prefix_is_key()) {
      note_equal(numbers_, 0, 0, mask);
    }
    for (std::uint64_t& word : numbers_) {
      word &= mask;
    }
  }
  while (!unsorted_.empty()) {
    const Run run = unsorted_.back();
    unsorted_.pop_back();
    sort_run(run);
  }
  return std::move(numbers_);
}

// Fills `words` with (as many leading bits of the value as fit, index) and sorts them.
void SortOrder::sort_words(std::span<std::uint64_t> words, std::span<const std::uint64_t> values) {
  const auto [least, greatest] = std::ranges::minmax(values);
  const std::uint64_t mask = number_mask(values.size());
  const int shift = std::countl_zero(greatest - least);
  is_exact_ = shift == 64 || ((~std::uint64_t{0} << shift) & mask) == 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint64_t value = shift == 64 ? 0 : (values[i] - least) << shift;
    words[i] = (value & ~mask) | i;
  }
  if (shift == 64) {
    return;
  }
  if (words.size() <= kSmallRun) {
    std::ranges::sort(words);
  } else {
    hwy::Sorter()(words.data(), words.size(), hwy::SortAscending());
  }
}

// Remembers every run of words that differ in their numbers only.
void SortOrder::note_equal(std::span<const std::uint64_t> words, std::size_t begin,
                           std::size_t key_offset, std::uint64_t number_mask) {
  for (std::size_t i = 0; i + 1 < words.size();) {
    std::size_t end = i + 1;
    while (end < words.size() && ((words[i] ^ words[end]) & ~number_mask) == 0) {
      ++end;
    }
    if (end - i > 1) {
      unsorted_.push_back({begin + i, begin + end, key_offset});
    }
    i = end;
  }
}

std::size_t SortOrder::common_bytes(std::span<const std::uint64_t> numbers,
                                    std::size_t known) const {
  const RecordBytes first = keys_.key(records_[numbers.front()]);
  std::size_t common = first.size();
  for (const std::uint64_t number : numbers.subspan(1)) {
    const RecordBytes key = keys_.key(records_[number]);
    const std::size_t shared = std::min(common, key.size());
    const auto at = static_cast<std::ptrdiff_t>(std::min(known, shared));
    common = static_cast<std::size_t>(
        std::mismatch(first.begin() + at, first.begin() + static_cast<std::ptrdiff_t>(shared),
                      key.begin() + at)
            .first -
        first.begin());
  }
  return common;
}

// The numbers of a run ascend, so a stable order is that of words whose low bits are places in it.
void SortOrder::sort_run(const Run& run) {
  const std::span numbers = std::span(numbers_).subspan(run.begin, run.end - run.begin);
  const auto is_less = [this](std::uint64_t left, std::uint64_t right) {
    const int order = keys_.compare(records_[left], records_[right]);
    return order != 0 ? order < 0 : left < right;
  };
  if (numbers.size() <= kSmallRun) {
    std::ranges::sort(numbers, is_less);
    return;
  }
  const bool all_equal = std::ranges::all_of(numbers.subspan(1), [&](std::uint64_t number) {
    return keys_.compare(records_[numbers.front()], records_[number]) == 0;
  });
  if (all_equal) {
    return;
  }
  const std::size_t offset = keys_.is_integer() ? 0 : common_bytes(numbers, run.key_offset);
  values_.resize(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const RecordBytes record = records_[numbers[i]];
    values_[i] =
        keys_.is_integer() ? keys_.prefix(record) : KeyReader::window(keys_.key(record), offset);
  }
  const auto [least, greatest] = std::ranges::minmax(values_);
  if (least == greatest) {
    // Keys that end here, and keys that go on with zeros, look alike to a window.
    std::ranges::sort(numbers, is_less);
    return;
  }
  words_.resize(numbers.size());
  sort_words(words_, values_);
  const std::uint64_t mask = number_mask(numbers.size());
  values_.assign(numbers.begin(), numbers.end());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = values_[words_[i] & mask];
  }
  if (!keys_.is_integer() || !is_exact_) {
    note_equal(words_, run.begin, offset, mask);
  }
}

}  // namespace pinion::engine
