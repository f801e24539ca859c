// Steps of jobs whose ranks work at different places, as those of one rank for each NUMA node do.

#include <cstdint>
#include <latch>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/distributed.hpp>
#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/map_reduce.hpp>

#include "shard/engine/fake_job.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::ElementsAre;

constexpr Place kFirst{.index = 0};
constexpr Place kSecond{.index = 1};

/// What a planner was asked, and what came of it.
struct Planned {
  std::optional<PartitionPolicy> policy = {};
  std::vector<ShardRange> shards = {};
  std::vector<Place> homes = {};  ///< Of the sources.
};

/// Another planner, whose plans are looked at.
class WatchedPlanner final : public IShardPlanner {
 public:
  WatchedPlanner(std::shared_ptr<const IShardPlanner> planner, Planned& planned)
      : planner_(std::move(planner)), planned_(planned) {}

  [[nodiscard]] Result<std::vector<ShardRange>> partition(
      const InputListing& input, const PartitionPolicy& policy) const override {
    planned_.policy = policy;
    for (const InputSource& source : input.sources()) {
      planned_.homes.push_back(source.home);
    }
    return planner_->partition(input, policy);
  }
  [[nodiscard]] std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                                 const PartitionPolicy& policy) const override {
    planned_.shards = planner_->coalesce(std::move(shards), policy);
    return planned_.shards;
  }

 private:
  std::shared_ptr<const IShardPlanner> planner_;
  Planned& planned_;
};

Partitioning watched(Partitioning by, Planned& planned) {
  by.planner = std::make_shared<WatchedPlanner>(by.planner, planned);
  return by;
}

std::vector<Place> places_of(const std::vector<ShardRange>& shards) {
  std::vector<Place> places;
  for (const ShardRange& shard : shards) {
    places.push_back(shard.place);
  }
  return places;
}

Blob add_blob(FakeJob& job, Place home, std::uint64_t size_bytes) {
  return job.store().create(size_bytes, home).value().seal().value();
}

TEST(PlacedStep, IsPlannedForTheWorkersOfAllRanks) {
  Planned planned;
  FakeJob job({.rank_count = 2, .worker_count = 3, .places_apart = true});
  job.run([&](FakeRank& rank) {
    const Status status = for_each_shard(rank, indices(100), watched(by_index_range(50), planned),
                                         [](const Shard&) {});
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  EXPECT_THAT(planned.policy->places, ElementsAre(kFirst, kSecond));
  EXPECT_THAT(planned.policy->place_worker_counts, ElementsAre(3, 3));
  EXPECT_EQ(planned.policy->worker_count, 6u);
  EXPECT_THAT(places_of(planned.shards), ElementsAre(kFirst, kSecond));
}

TEST(PlacedStep, OfOneRankIsPlannedForItsOwnWorkers) {
  Planned planned;
  FakeJob job({.worker_count = 2, .place_count = 2});
  job.run([&](FakeRank& rank) {
    const Status status =
        for_each_shard(rank, indices(100), watched(by_index_range(), planned), [](const Shard&) {});
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  EXPECT_THAT(planned.policy->places, ElementsAre(kFirst, kSecond));
  EXPECT_THAT(planned.policy->place_worker_counts, ElementsAre(2, 2));
  EXPECT_EQ(planned.policy->worker_count, 4u);
}

TEST(PlacedStep, JoinsNoBlobsOfTheNodesOfDifferentRanks) {
  Planned planned;
  FakeJob job({.rank_count = 2, .places_apart = true});
  const std::vector<Blob> kept = {add_blob(job, kFirst, 10), add_blob(job, kFirst, 20),
                                  add_blob(job, kSecond, 30), add_blob(job, kSecond, 40)};
  job.run([&](FakeRank& rank) {
    const Status status =
        for_each_shard(rank, blobs(kept), watched(by_bytes(1000), planned), [](const Shard&) {});
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  EXPECT_THAT(places_of(planned.shards), ElementsAre(kFirst, kSecond));
  ASSERT_EQ(planned.shards.size(), 2u);
  EXPECT_EQ(planned.shards[0].end, 30u);
}

TEST(PlacedStep, KeepsPartitionsAtTheirHomes) {
  Planned planned;
  FakeJob job({.rank_count = 2, .places_apart = true, .batch_shard_count = 1});
  job.run([&](FakeRank& rank) {
    const auto counts = map_reduce(
        rank, indices(1000), by_index_range(10),
        [](const Shard& shard, auto& emit) { emit(shard.id()); },
        distributed(count_by_key<std::uint64_t>()));
    ASSERT_TRUE(counts) << counts.error().to_string();
    const Status status = for_each_shard(rank, partitions(*counts),
                                         watched(by_partition(), planned), [](const Shard&) {});
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  EXPECT_EQ(places_of(planned.shards), planned.homes);
  EXPECT_GT(planned.homes.size(), 1u);
}

// Each rank is held in its first shard until the other has one as well.
TEST(PlacedStep, GivesEachRankWhatLiesAtItsPlace) {
  FakeJob job({.rank_count = 2, .places_apart = true});
  const std::vector<Blob> kept = {add_blob(job, kSecond, 10), add_blob(job, kFirst, 10)};
  std::latch begun(2);
  std::mutex mutex;
  std::map<std::uint64_t, std::uint32_t> rank_of_shard;
  job.run([&](FakeRank& rank) {
    const Status status =
        for_each_shard(rank, blobs(kept), by_bytes(1000), [&](const Shard& shard) {
          {
            const std::lock_guard lock(mutex);
            rank_of_shard[shard.id()] = rank.info().rank;
          }
          begun.arrive_and_wait();
        });
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  EXPECT_THAT(rank_of_shard, ElementsAre(testing::Pair(0, 1), testing::Pair(1, 0)));
}

}  // namespace
}  // namespace pinion
