#include "engine/sort_ranges.hpp"

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace pinion::engine {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

// Samples of several shapes: even, few values, near both ends, packed closely.
std::vector<std::uint64_t> make_sample(std::mt19937_64& random, std::size_t size) {
  const std::uint64_t shape = random() % 5;
  std::vector<std::uint64_t> sample(size);
  for (std::uint64_t& value : sample) {
    value = random();
    if (shape == 1) {
      value %= 3;
    } else if (shape == 2) {
      value = kMax - value % 100;
    } else if (shape == 3) {
      value = 0x7000'0000'0000'0000u + value % 5000;
    } else if (shape == 4) {
      value = value % 4 == 0 ? value : 0x4242'4242'4242'4242u;
    }
  }
  return sample;
}

TEST(SortRanges, AscendWithThePrefix) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    const std::vector<std::uint64_t> sample = make_sample(random, random() % 500);
    const SortRanges ranges(sample, static_cast<std::uint32_t>(1 + random() % 300));
    std::vector<std::uint64_t> prefixes = {0, 1, kMax - 1, kMax};
    for (const std::uint64_t value : sample) {
      prefixes.insert(prefixes.end(), {value, value - 1, value + 1, random()});
    }
    std::ranges::sort(prefixes);
    std::uint32_t last = 0;
    for (const std::uint64_t prefix : prefixes) {
      const std::uint32_t range = ranges.of(prefix);
      ASSERT_LT(range, ranges.count());
      ASSERT_GE(range, last) << prefix;
      last = range;
    }
  }
}

TEST(SortRanges, DoNotDependOnTheOrderOfTheSample) {
  std::mt19937_64 random(4);
  std::vector<std::uint64_t> sample = make_sample(random, 400);
  const SortRanges first(sample, 32);
  std::shuffle(sample.begin(), sample.end(), random);
  const SortRanges second(sample, 32);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t prefix = random();
    ASSERT_EQ(first.of(prefix), second.of(prefix));
  }
}

TEST(SortRanges, AreAboutEquallyFull) {
  std::mt19937_64 random(5);
  std::vector<std::uint64_t> sample(4000);
  std::ranges::generate(sample, std::ref(random));
  const SortRanges ranges(sample, 16);
  ASSERT_EQ(ranges.count(), 16u);
  std::vector<int> counts(16);
  for (int i = 0; i < 16'000; ++i) {
    ++counts[ranges.of(random())];
  }
  EXPECT_LT(*std::ranges::max_element(counts), 1500);
}

TEST(SortRanges, GiveAPrefixThatIsEverywhereARangeOfItsOwn) {
  std::vector<std::uint64_t> sample(1000, 77);
  for (std::uint64_t i = 0; i < 200; ++i) {
    sample.push_back(i << 50);
  }
  const SortRanges ranges(sample, 8);
  EXPECT_LT(ranges.of(76), ranges.of(77));
  EXPECT_LT(ranges.of(77), ranges.of(78));
}

TEST(SortRanges, AreOneWithoutASample) {
  EXPECT_EQ(SortRanges().count(), 1u);
  EXPECT_EQ(SortRanges({}, 50).count(), 1u);
  EXPECT_EQ(SortRanges({}, 50).of(kMax), 0u);
}

}  // namespace
}  // namespace pinion::engine
