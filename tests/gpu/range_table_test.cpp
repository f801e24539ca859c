#include "range_table.hpp"

#include <cstdint>

#include <gtest/gtest.h>

namespace pinion {
namespace {

constexpr std::uint64_t kMost = ~std::uint64_t{0};

TEST(RangeTable, KnowsWhatLiesInOneOfItsRanges) {
  RangeTable table;
  table.add(100, 50);
  table.add(150, 50);
  EXPECT_EQ(table.bytes(), 100u);
  EXPECT_TRUE(table.contains(100, 50));
  EXPECT_TRUE(table.contains(149, 1));
  EXPECT_TRUE(table.contains(200, 0));
  EXPECT_FALSE(table.contains(149, 2));  // Two ranges side by side are not one.
  EXPECT_FALSE(table.contains(99, 1));
  EXPECT_FALSE(table.contains(200, 1));
  EXPECT_FALSE(table.contains(150, kMost));
  EXPECT_FALSE(table.contains(kMost, 100));
  table.remove(100);
  EXPECT_FALSE(table.contains(100, 1));
  EXPECT_EQ(table.bytes(), 50u);
}

TEST(RangeTable, KnowsWhatMeetsItsRanges) {
  RangeTable table;
  table.add(100, 50);
  for (const auto& [begin, size_bytes] :
       {std::pair(100u, 50u), {99u, 2u}, {149u, 1u}, {0u, 999u}}) {
    EXPECT_TRUE(table.overlaps(begin, size_bytes)) << begin;
  }
  EXPECT_TRUE(table.overlaps(120, kMost));
  EXPECT_FALSE(table.overlaps(99, 1));
  EXPECT_FALSE(table.overlaps(150, 1));
  EXPECT_FALSE(table.overlaps(150, kMost));
}

}  // namespace
}  // namespace pinion
