#include <cstdint>

#include <gtest/gtest.h>

#include <pinion/shard/protocol/messages.hpp>

namespace pinion::protocol {
namespace {

using ShardSpan = MapUnits::ShardSpan;

TEST(MapUnits, AreTheShardsUnlessTheStepIsOrdered) {
  const MapUnits units{.shard_count = 3};
  EXPECT_FALSE(units.ordered());
  EXPECT_EQ(units.unit_count(), 3U);
  EXPECT_EQ(units.shards_of(2), (ShardSpan{2, 3}));
}

TEST(MapUnits, AreRunsOfShardsInAnOrderedStep) {
  const MapUnits units{.shard_count = 7, .ordered_batch_shard_count = 3};
  EXPECT_TRUE(units.ordered());
  EXPECT_EQ(units.unit_count(), 3U);
  EXPECT_EQ(units.shards_of(0), (ShardSpan{0, 3}));
  EXPECT_EQ(units.shards_of(2), (ShardSpan{6, 7}));
}

TEST(MapUnits, HaveNoShardsBeyondTheLast) {
  EXPECT_EQ((MapUnits{.shard_count = 0, .ordered_batch_shard_count = 3}).unit_count(), 0U);
  const MapUnits one{.shard_count = 2, .ordered_batch_shard_count = 0xffffffff};
  EXPECT_EQ(one.unit_count(), 1U);
  EXPECT_EQ(one.shards_of(0), (ShardSpan{0, 2}));
  EXPECT_EQ(one.shards_of(1).count(), 0U);
  EXPECT_EQ(one.shards_of(~std::uint64_t{0}).count(), 0U);
}

}  // namespace
}  // namespace pinion::protocol
