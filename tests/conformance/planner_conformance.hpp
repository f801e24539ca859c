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

  /// May be empty. Whether the policy's alignment lets a shard end at this offset of the input.
  std::function<bool(std::uint64_t end)> may_end = nullptr;

  std::shared_ptr<void> keep_alive = nullptr;  ///< Owns the files behind the input.
};

struct PlannerSubject {
  std::string name = {};
  std::shared_ptr<const IShardPlanner> planner = nullptr;

  /// Equal trials for equal seeds. Some should have an empty input, a target larger than the input,
  /// and several places.
  std::function<PlannerTrial(std::uint64_t seed)> make_trial = nullptr;

  /// How much of the policy's target a shard is: its bytes or indices, unless the planner counts
  /// something else.
  std::function<std::uint64_t(const ShardRange&)> measure = [](const ShardRange& shard) {
    return shard.end - shard.begin;
  };

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

TEST_P(PlannerConformance, ShardsEndWhereTheAlignmentLetsThem) {
  for (std::uint64_t seed = 0; seed < kTrialCount; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const PlannerTrial trial = GetParam().make_trial(seed);
    if (trial.may_end == nullptr) {
      continue;
    }
    const std::vector<ShardRange> fine =
        GetParam().planner->partition(trial.input, trial.policy).value();
    for (const ShardRange& shard : GetParam().planner->coalesce(fine, trial.policy)) {
      ASSERT_TRUE(trial.may_end(shard.end)) << shard.end;
    }
  }
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
          ASSERT_TRUE(was_there || GetParam().measure(shard) <= policy.target_size);
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

TEST_P(PlannerConformance, ChoosesATargetWhereThePolicyHasNone) {
  for (std::uint64_t seed = 0; seed < kTrialCount; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    PlannerTrial trial = GetParam().make_trial(seed);
    trial.policy.target_size = 0;
    trial.policy.worker_count = 1 + seed % 5;
    const Result<std::vector<ShardRange>> fine =
        GetParam().planner->partition(trial.input, trial.policy);
    ASSERT_TRUE(fine.has_value()) << fine.error().to_string();
    expect_cover(*fine, trial.input.size());
    const std::vector<ShardRange> joined = GetParam().planner->coalesce(*fine, trial.policy);
    expect_cover(joined, trial.input.size());
    ASSERT_EQ(weight_of(joined), weight_of(*fine));
    ASSERT_EQ(GetParam().planner->coalesce(joined, trial.policy), joined);
  }
}

TEST_P(PlannerConformance, RefusesAPolicyThatIsNone) {
  const PlannerTrial trial = GetParam().make_trial(1);
  PartitionPolicy no_places = trial.policy;
  no_places.places.clear();
  PartitionPolicy no_delimiter = trial.policy;
  no_delimiter.alignment = align_to("");
  PartitionPolicy long_delimiter = trial.policy;
  long_delimiter.alignment = align_to("more than sixteen bytes");
  PartitionPolicy no_records = trial.policy;
  no_records.alignment = align_to_records(0);
  PartitionPolicy no_counts = trial.policy;
  no_counts.place_worker_counts.assign(trial.policy.places.size() + 1, 1);
  PartitionPolicy no_workers = trial.policy;
  no_workers.place_worker_counts.assign(trial.policy.places.size(), 0);
  for (const PartitionPolicy& broken :
       {no_places, no_delimiter, long_delimiter, no_records, no_counts, no_workers}) {
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
