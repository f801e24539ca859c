#include "batch_size.hpp"

#include <cmath>
#include <cstdint>

#include <gtest/gtest.h>

namespace pinion {
namespace {

constexpr std::uint64_t kMost = 1 << 20;

// What comes of launches of a device that takes `launch_ns` for each, and so much for a byte.
std::uint64_t learn(double launch_ns, double byte_ns, std::uint64_t shard_bytes) {
  BatchSize size;
  std::uint64_t bytes = 0;
  for (int round = 0; round < 100; ++round) {
    bytes = size.best(shard_bytes, kMost);
    const std::uint64_t whole_shards = bytes / shard_bytes * shard_bytes;
    const double time = launch_ns + byte_ns * static_cast<double>(whole_shards);
    size.measured(whole_shards, Duration(std::lround(time)));
  }
  return bytes;
}

TEST(BatchSize, IsOneShardWhereALaunchCostsNothing) {
  EXPECT_LT(learn(0, 10.0, 1000), 2000u);
  EXPECT_LT(learn(0, 10.0, 1 << 19), 2u << 19);
}

TEST(BatchSize, GrowsUntilALaunchCostsATenth) {
  // With 100 000 bytes a launch costs a tenth of what they cost.
  const std::uint64_t bytes = learn(10'000, 1.0, 1000);
  EXPECT_GE(bytes, 50'000u);
  EXPECT_LE(bytes, 200'000u);
}

TEST(BatchSize, KeepsToTheMostAndTakesALargerShardWhole) {
  EXPECT_EQ(learn(1e9, 1.0, 1000), kMost);
  EXPECT_EQ(learn(1e9, 1.0, 3 * kMost), 3 * kMost);
  EXPECT_EQ(BatchSize().best(kMost, kMost), kMost);
}

TEST(BatchSize, TriesTwiceAsMuchAfterEachMeasurement) {
  BatchSize size;
  EXPECT_LT(size.best(1000, kMost), 2000u);
  EXPECT_LT(size.best(1000, kMost), 2000u);
  size.measured(1000, Duration(5000));
  EXPECT_GE(size.best(1000, kMost), 2000u);
  EXPECT_LT(size.best(1000, kMost), 4000u);
}

TEST(BatchSize, FollowsADeviceThatChanges) {
  BatchSize size;
  for (int round = 0; round < 30; ++round) {
    size.measured(1000, Duration(5000));
    size.measured(2000, Duration(5000));
  }
  EXPECT_GE(size.best(1000, kMost), 2000u);
  for (int round = 0; round < 30; ++round) {
    size.measured(2000, Duration(10'000));
  }
  EXPECT_LT(size.best(1000, kMost), 2000u);
}

}  // namespace
}  // namespace pinion
