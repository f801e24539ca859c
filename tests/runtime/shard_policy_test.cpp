#include "devices/shard_policy.hpp"

#include <gtest/gtest.h>

namespace pinion {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kDevice = 0;
constexpr std::size_t kWorkers = 1;

ShardPolicy policy_of(std::uint64_t memory_bytes) {
  return ShardPolicy({{.name = "device", .memory_bytes = memory_bytes}, {.name = "workers"}});
}

TEST(ShardPolicy, TriesEachRunnerAndThenFavoursTheQuickerOne) {
  ShardPolicy policy = policy_of(1000);
  const PlacedShard shard = {.input_bytes = 100, .other_bytes = 100};
  for (int i = 0; i < 2; ++i) {
    static_cast<void>(policy.place(shard, Instant()));
  }
  const auto on_device = policy.next(kDevice, Instant());
  const auto on_worker = policy.next(kWorkers, Instant());
  ASSERT_TRUE(on_device && on_worker);
  policy.ended(*on_device, milliseconds(1));
  policy.ended(*on_worker, milliseconds(10));
  // The device does five of them before the workers would have done one.
  for (int i = 0; i < 5; ++i) {
    static_cast<void>(policy.place(shard, Instant()));
  }
  EXPECT_FALSE(policy.next(kWorkers, Instant()));
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(policy.next(kDevice, Instant()));
  }
}

TEST(ShardPolicy, LeavesToTheWorkersWhatFitsNoDevice) {
  ShardPolicy policy = policy_of(100);
  const std::uint64_t ticket = policy.place({.input_bytes = 100, .other_bytes = 1}, Instant());
  EXPECT_FALSE(policy.next(kDevice, Instant()));
  EXPECT_EQ(policy.next(kWorkers, Instant()), ticket);
}

TEST(ShardPolicy, PlacesAsAPieceWhatCanBeCut) {
  ShardPolicy policy = policy_of(100);
  const PlacedShard large = {.input_bytes = 200, .other_bytes = 200, .can_be_cut = true};
  const std::uint64_t first = policy.place(large, Instant());
  ASSERT_EQ(policy.next(kDevice, Instant()), first);
  policy.ended(first, milliseconds(8));
  // 25 of the 200 bytes took an eighth of that, so a shard of 25 bytes takes a millisecond, which
  // the workers do not know to do better.
  const std::uint64_t on_workers = policy.place({.input_bytes = 25}, Instant());
  ASSERT_EQ(policy.next(kWorkers, Instant()), on_workers);
  policy.ended(on_workers, milliseconds(3));
  static_cast<void>(policy.place({.input_bytes = 25}, Instant()));
  static_cast<void>(policy.place({.input_bytes = 25}, Instant()));
  EXPECT_FALSE(policy.next(kWorkers, Instant()));
  EXPECT_TRUE(policy.next(kDevice, Instant()));
}

TEST(ShardPolicy, GivesBackWhatWaitsForARunnerThatRetires) {
  ShardPolicy policy = policy_of(1000);
  const std::uint64_t first = policy.place({.input_bytes = 100}, Instant());
  EXPECT_EQ(policy.retire(kDevice), std::vector<std::uint64_t>({first}));
  const std::uint64_t second = policy.place({.input_bytes = 100}, Instant());
  EXPECT_EQ(policy.next(kWorkers, Instant()), second);
  policy.dropped(second);
}

TEST(ShardPolicy, LeavesAllToTheWorkersWhenNoDeviceIsLeft) {
  ShardPolicy policy = policy_of(100);
  EXPECT_TRUE(policy.retire(kDevice).empty());
  const std::uint64_t ticket = policy.place({.input_bytes = 200, .can_be_cut = true}, Instant());
  EXPECT_EQ(policy.next(kWorkers, Instant()), ticket);
}

}  // namespace
}  // namespace pinion
