#include "free_ranges.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

TEST(FreeRanges, TakesTheLowestThatIsLargeEnough) {
  FreeRanges free(1000, 2000);
  EXPECT_EQ(free.take(100), 1000u);
  EXPECT_EQ(free.take(200), 1100u);
  EXPECT_EQ(free.take(300), 1300u);
  free.give_back(1000, 100);
  EXPECT_EQ(free.take(150), 1600u);
  EXPECT_EQ(free.take(100), 1000u);
  EXPECT_FALSE(free.take(251).has_value());
  EXPECT_EQ(free.take(250), 1750u);
  EXPECT_FALSE(free.take(1).has_value());
}

TEST(FreeRanges, JoinsWhatTouches) {
  for (const std::vector<std::uint64_t>& order : {std::vector<std::uint64_t>{0, 1, 2},
                                                  {0, 2, 1},
                                                  {1, 0, 2},
                                                  {1, 2, 0},
                                                  {2, 0, 1},
                                                  {2, 1, 0}}) {
    FreeRanges free(0, 300);
    for (std::uint64_t i = 0; i < 3; ++i) {
      EXPECT_EQ(free.take(100), i * 100);
      EXPECT_FALSE(free.all_free());
    }
    for (const std::uint64_t part : order) {
      EXPECT_FALSE(free.all_free());
      free.give_back(part * 100, 100);
    }
    EXPECT_TRUE(free.all_free());
    EXPECT_EQ(free.take(300), 0u);
  }
}

// Against a map of what is taken: no two overlap, and at the end all is one range again.
TEST(FreeRanges, KeepsRangesApart) {
  std::mt19937_64 random(17);
  FreeRanges free(4096, 1 << 20);
  std::map<std::uint64_t, std::uint64_t> taken;
  for (int round = 0; round < 20000; ++round) {
    if (taken.empty() || random() % 2 == 0) {
      const std::uint64_t size = 64 * (1 + random() % 100);
      const std::optional<std::uint64_t> begin = free.take(size);
      if (!begin) {
        continue;
      }
      ASSERT_TRUE(*begin >= 4096 && *begin + size <= 1 << 20);
      const auto behind = taken.lower_bound(*begin);
      ASSERT_TRUE(behind == taken.end() || behind->first >= *begin + size);
      ASSERT_TRUE(behind == taken.begin() ||
                  std::prev(behind)->first + std::prev(behind)->second <= *begin);
      taken.emplace(*begin, size);
    } else {
      const auto one =
          std::next(taken.begin(), static_cast<std::ptrdiff_t>(random() % taken.size()));
      free.give_back(one->first, one->second);
      taken.erase(one);
    }
  }
  for (const auto& [begin, size] : taken) {
    free.give_back(begin, size);
  }
  EXPECT_TRUE(free.all_free());
}

}  // namespace
}  // namespace pinion
