#pragma once

// The laws of IShardPlanner. A planner passes when this holds:
//
//   INSTANTIATE_TEST_SUITE_P(MyPlanner, PlannerConformance, testing::Values(PlannerSubject{...}),
//                            subject_name);

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <pinion/shard/input.hpp>
#include <pinion/shard/planner.hpp>

#include <gtest/gtest.h>

namespace pinion {

/// An input and a policy that the planner must take.
struct PlannerTrial {
  InputListing input = {};
  PartitionPolicy policy = {};
  std::shared_ptr<void> keep_alive = nullptr;  ///< Owns the files behind the input.
};

struct PlannerSubject {
  std::string name = {};
  std::shared_ptr<const IShardPlanner> planner = nullptr;

  /// Equal trials for equal seeds. Some should have an empty input, a target larger than the input,
  /// and several places.
  std::function<PlannerTrial(std::uint64_t seed)> make_trial = nullptr;

  friend void PrintTo(const PlannerSubject& subject, std::ostream* out) { *out << subject.name; }
};

class PlannerConformance : public testing::TestWithParam<PlannerSubject> {
 protected:
  static constexpr std::uint64_t kTrialCount = 60;

  // Calls `law(input, policy, fine)` for each trial, where `fine` is the answer of partition().
  template <class Law>
  static void for_each_trial(Law law) {
    for (std::uint64_t seed = 0; seed < kTrialCount; ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      const PlannerTrial trial = GetParam().make_trial(seed);
      const Result<std::vector<ShardRange>> fine =
          GetParam().planner->partition(trial.input, trial.policy);
      ASSERT_TRUE(fine.has_value()) << fine.error().to_string();
      law(trial.input, trial.policy, *fine);
      if (HasFatalFailure()) {
        return;
      }
    }
  }

  static void expect_cover(const std::vector<ShardRange>& shards, std::uint64_t size) {
    std::uint64_t at = 0;
    for (const ShardRange& shard : shards) {
      ASSERT_EQ(shard.begin, at) << "a gap, an overlap or the wrong order";
      ASSERT_GT(shard.end, shard.begin) << "an empty shard at " << at;
      at = shard.end;
    }
    ASSERT_EQ(at, size);
  }

  static std::uint64_t weight_of(const std::vector<ShardRange>& shards) {
    std::uint64_t weight = 0;
    for (const ShardRange& shard : shards) {
      weight += shard.weight;
    }
    return weight;
  }
};

TEST_P(PlannerConformance, PartitionCoversTheInputOnce) {
  for_each_trial([](const InputListing& input, const PartitionPolicy&,
                    const std::vector<ShardRange>& fine) { expect_cover(fine, input.size()); });
}

TEST_P(PlannerConformance, PartitionUsesOnlyThePlacesOfThePolicy) {
  for_each_trial(
      [](const InputListing&, const PartitionPolicy& policy, const std::vector<ShardRange>& fine) {
        for (const ShardRange& shard : fine) {
          ASSERT_EQ(std::count(policy.places.begin(), policy.places.end(), shard.place), 1);
        }
      });
}

TEST_P(PlannerConformance, CoalesceLosesNothing) {
  for_each_trial([](const InputListing& input, const PartitionPolicy& policy,
                    const std::vector<ShardRange>& fine) {
    const std::vector<ShardRange> joined = GetParam().planner->coalesce(fine, policy);
    expect_cover(joined, input.size());
    ASSERT_EQ(weight_of(joined), weight_of(fine));
  });
}

// Each shard of the coalesced plan must be a run of shards of the fine one that all had its place.
TEST_P(PlannerConformance, CoalesceJoinsOnlyNeighboursOfOnePlace) {
  for_each_trial(
      [](const InputListing&, const PartitionPolicy& policy, const std::vector<ShardRange>& fine) {
        std::size_t next = 0;
        for (const ShardRange& shard : GetParam().planner->coalesce(fine, policy)) {
          ASSERT_LT(next, fine.size());
          ASSERT_EQ(fine[next].begin, shard.begin);
          while (next < fine.size() && fine[next].begin < shard.end) {
            ASSERT_EQ(fine[next].place, shard.place);
            ASSERT_LE(fine[next].end, shard.end);
            ++next;
          }
        }
        ASSERT_EQ(next, fine.size());
      });
}

TEST_P(PlannerConformance, CoalesceNeverJoinsBeyondTheTarget) {
  for_each_trial(
      [](const InputListing&, const PartitionPolicy& policy, const std::vector<ShardRange>& fine) {
        for (const ShardRange& shard : GetParam().planner->coalesce(fine, policy)) {
          const bool was_there = std::find(fine.begin(), fine.end(), shard) != fine.end();
          ASSERT_TRUE(was_there || shard.end - shard.begin <= policy.target_size);
        }
      });
}

TEST_P(PlannerConformance, CoalesceOfWhatItGaveChangesNothing) {
  for_each_trial(
      [](const InputListing&, const PartitionPolicy& policy, const std::vector<ShardRange>& fine) {
        const std::vector<ShardRange> once = GetParam().planner->coalesce(fine, policy);
        ASSERT_EQ(GetParam().planner->coalesce(once, policy), once);
      });
}

TEST_P(PlannerConformance, TheSameInputAndPolicyGiveTheSameShards) {
  for_each_trial([](const InputListing& input, const PartitionPolicy& policy,
                    const std::vector<ShardRange>& fine) {
    ASSERT_EQ(GetParam().planner->partition(input, policy).value(), fine);
  });
}

TEST_P(PlannerConformance, AnEmptyInputHasNoShards) {
  const PlannerTrial trial = GetParam().make_trial(1);
  const InputListing empty(trial.input.kind(), {}, 0);
  const Result<std::vector<ShardRange>> shards = GetParam().planner->partition(empty, trial.policy);
  ASSERT_TRUE(shards.has_value()) << shards.error().to_string();
  EXPECT_TRUE(shards->empty());
  EXPECT_TRUE(GetParam().planner->coalesce({}, trial.policy).empty());
}

TEST_P(PlannerConformance, RefusesATargetOfZeroAndNoPlaces) {
  const PlannerTrial trial = GetParam().make_trial(1);
  PartitionPolicy no_target = trial.policy;
  no_target.target_size = 0;
  PartitionPolicy no_places = trial.policy;
  no_places.places.clear();
  for (const PartitionPolicy& broken : {no_target, no_places}) {
    const Result<std::vector<ShardRange>> shards =
        GetParam().planner->partition(trial.input, broken);
    ASSERT_FALSE(shards.has_value());
    EXPECT_EQ(shards.error().code(), ErrorCode::kInvalidArgument);
  }
}

inline std::string subject_name(const testing::TestParamInfo<PlannerSubject>& info) {
  return info.param.name;
}

}  // namespace pinion
