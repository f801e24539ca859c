// Shards that a planner gives priorities.

#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/planner.hpp>

#include "engine/plan.hpp"
#include "engine/planner_parts.hpp"
#include "shard/engine/fake_job.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::ElementsAre;

constexpr ShardPriority kOfThree[] = {ShardPriority::kLow, ShardPriority::kHigh,
                                      ShardPriority::kNormal};

/// A shard for each index; their priorities go round: low, high, normal.
class RoundPlanner final : public IShardPlanner {
 public:
  [[nodiscard]] Result<std::vector<ShardRange>> partition(
      const InputListing& input, const PartitionPolicy& policy) const override {
    std::vector<ShardRange> shards;
    for (std::uint64_t index = 0; index < input.size(); ++index) {
      shards.push_back({.begin = index,
                        .end = index + 1,
                        .weight = index,
                        .place = policy.places.front(),
                        .priority = kOfThree[index % 3]});
    }
    return shards;
  }
  [[nodiscard]] std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                                 const PartitionPolicy&) const override {
    return shards;
  }
};

Partitioning round() {
  return {.planner = std::make_shared<RoundPlanner>(), .description = "round"};
}

/// The shards in the order in which one worker of one rank runs them.
std::vector<std::uint64_t> order_of(const Partitioning& partitioning) {
  FakeJob job({.rank_count = 1, .worker_count = 1});
  std::vector<std::uint64_t> order;
  job.run([&](FakeRank& rank) {
    const Status status =
        for_each_shard(rank, indices(9), partitioning,
                       [&order](const Shard& shard) { order.push_back(shard.id()); });
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  return order;
}

TEST(ShardPriorities, AreBegunHighestFirstAndWithinOneTheHeaviestFirst) {
  EXPECT_THAT(order_of(round()), ElementsAre(7, 4, 1, 8, 5, 2, 6, 3, 0));
}

TEST(ShardPriorities, OfABatchOfAnOrderedStepAreThoseOfItsFirstShard) {
  // Batches 0-1, 2-3, 4-5, 6-7, 8: low, normal, high, low, normal.
  EXPECT_THAT(order_of(round().ordered(2)), ElementsAre(4, 5, 8, 2, 3, 6, 7, 0, 1));
}

TEST(ShardPriorities, KeepNeighboursApart) {
  std::vector<ShardRange> shards;
  for (const ShardPriority priority : {ShardPriority::kNormal, ShardPriority::kNormal,
                                       ShardPriority::kHigh, ShardPriority::kHigh}) {
    const std::uint64_t begin = shards.size();
    shards.push_back({.begin = begin, .end = begin + 1, .weight = 1, .priority = priority});
  }
  join_neighbours(shards, 100, weight_of);
  EXPECT_THAT(
      shards,
      ElementsAre(ShardRange{.begin = 0, .end = 2, .weight = 2},
                  ShardRange{.begin = 2, .end = 4, .weight = 2, .priority = ShardPriority::kHigh}));
}

StepPlan plan_with(std::vector<ShardPriority> priorities) {
  StepPlan plan;
  plan.listing = InputListing(InputKind::kIndices, {}, priorities.size());
  for (std::uint64_t id = 0; id < priorities.size(); ++id) {
    plan.shards.push_back({.begin = id, .end = id + 1, .priority = priorities[id]});
  }
  return plan;
}

TEST(ShardPriorities, TravelWithThePlanAndCostNothingWhereThereAreNone) {
  const auto store = make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, 1u << 20);
  const StepPlan plan = plan_with({kOfThree[0], kOfThree[1], kOfThree[2]});
  const Result<StepPlan> read = decode(encode(plan), *store);
  ASSERT_TRUE(read.has_value()) << read.error().to_string();
  EXPECT_EQ(read->shards, plan.shards);
  const StepPlan plain = plan_with(std::vector<ShardPriority>(1000, ShardPriority::kNormal));
  StepPlan last_is_high = plain;
  last_is_high.shards.back().priority = ShardPriority::kHigh;
  EXPECT_GE(encode(last_is_high).size(), encode(plain).size() + 1000);
}

TEST(ShardPriorities, ThatDoNotExistAreAFlaw) {
  EXPECT_THAT(find_flaw(plan_with({static_cast<ShardPriority>(3)})),
              testing::HasSubstr("shard 0 has priority 3, which does not exist"));
}

}  // namespace
}  // namespace pinion
