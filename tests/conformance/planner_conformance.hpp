#pragma once

// The laws of IShardPlanner, as properties: RapidCheck makes inputs and policies, and makes one
// that breaks a law as small as it can (RC_PARAMS="reproduce=...", as it prints, runs that one
// again). A planner passes when this holds:
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

#include "conformance/planner_trial_shape.hpp"

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

  std::function<PlannerTrial(const TrialShape&)> make_trial = nullptr;

  /// How much of the policy's target a shard is: its bytes or indices, unless the planner counts
  /// something else.
  std::function<std::uint64_t(const ShardRange&)> measure = [](const ShardRange& shard) {
    return shard.end - shard.begin;
  };

  friend void PrintTo(const PlannerSubject& subject, std::ostream* out) { *out << subject.name; }
};

class PlannerConformance : public testing::TestWithParam<PlannerSubject> {
 protected:
  // Checks `law(trial, fine)`, which fails by RC_ASSERT, for many trials, where `fine` is the
  // answer of partition().
  template <class Law>
  static void expect_law(Law law) {
    const bool holds = rc::check([&law] {
      const TrialShape shape = *arbitrary_trial_shape();
      const PlannerTrial trial = GetParam().make_trial(shape);
      const Result<std::vector<ShardRange>> fine =
          GetParam().planner->partition(trial.input, trial.policy);
      RC_ASSERT(fine.has_value());
      law(trial, *fine);
    });
    EXPECT_TRUE(holds) << "by the trial that is shown above";
  }

  static std::vector<ShardRange> coalesce(const PlannerTrial& trial,
                                          const std::vector<ShardRange>& fine) {
    return GetParam().planner->coalesce(fine, trial.policy);
  }

  // No gap, no overlap, in order, nothing empty, and nothing left.
  static void assert_cover(const std::vector<ShardRange>& shards, std::uint64_t size) {
    std::uint64_t at = 0;
    for (const ShardRange& shard : shards) {
      RC_ASSERT(shard.begin == at);
      RC_ASSERT(shard.end > shard.begin);
      at = shard.end;
    }
    RC_ASSERT(at == size);
  }

  static std::uint64_t weight_of(const std::vector<ShardRange>& shards) {
    std::uint64_t weight = 0;
    for (const ShardRange& shard : shards) {
      weight += shard.weight;
    }
    return weight;
  }
};

using Shards = std::vector<ShardRange>;

TEST_P(PlannerConformance, PartitionCoversTheInputOnce) {
  expect_law([](const PlannerTrial& trial, const Shards& fine) {
    assert_cover(fine, trial.input.size());
  });
}

TEST_P(PlannerConformance, ShardsEndWhereTheAlignmentLetsThem) {
  expect_law([](const PlannerTrial& trial, const Shards& fine) {
    for (const ShardRange& shard : coalesce(trial, fine)) {
      RC_ASSERT((trial.may_end == nullptr || trial.may_end(shard.end)));
    }
  });
}

TEST_P(PlannerConformance, PartitionUsesOnlyThePlacesOfThePolicy) {
  expect_law([](const PlannerTrial& trial, const Shards& fine) {
    const std::vector<Place>& places = trial.policy.places;
    for (const ShardRange& shard : fine) {
      RC_ASSERT(std::count(places.begin(), places.end(), shard.place) == 1);
    }
  });
}

TEST_P(PlannerConformance, CoalesceLosesNothing) {
  expect_law([](const PlannerTrial& trial, const Shards& fine) {
    const Shards joined = coalesce(trial, fine);
    assert_cover(joined, trial.input.size());
    RC_ASSERT(weight_of(joined) == weight_of(fine));
  });
}

// Each shard of the coalesced plan must be a run of shards of the fine one that all had its place
// and its priority.
TEST_P(PlannerConformance, CoalesceJoinsOnlyNeighboursOfOnePlace) {
  expect_law([](const PlannerTrial& trial, const Shards& fine) {
    std::size_t next = 0;
    for (const ShardRange& shard : coalesce(trial, fine)) {
      RC_ASSERT(next < fine.size());
      RC_ASSERT(fine[next].begin == shard.begin);
      while (next < fine.size() && fine[next].begin < shard.end) {
        RC_ASSERT(fine[next].place == shard.place);
        RC_ASSERT(fine[next].priority == shard.priority);
        RC_ASSERT(fine[next].end <= shard.end);
        ++next;
      }
    }
    RC_ASSERT(next == fine.size());
  });
}

TEST_P(PlannerConformance, CoalesceNeverJoinsBeyondTheTarget) {
  expect_law([](const PlannerTrial& trial, const Shards& fine) {
    for (const ShardRange& shard : coalesce(trial, fine)) {
      const bool was_there = std::find(fine.begin(), fine.end(), shard) != fine.end();
      RC_ASSERT((was_there || GetParam().measure(shard) <= trial.policy.target_size));
    }
  });
}

TEST_P(PlannerConformance, CoalesceOfWhatItGaveChangesNothing) {
  expect_law([](const PlannerTrial& trial, const Shards& fine) {
    const Shards once = coalesce(trial, fine);
    RC_ASSERT(coalesce(trial, once) == once);
  });
}

// The id of a shard is its position in the coalesced plan.
TEST_P(PlannerConformance, TheSameInputAndPolicyGiveTheSameShards) {
  expect_law([](const PlannerTrial& trial, const Shards& fine) {
    const Shards again = GetParam().planner->partition(trial.input, trial.policy).value();
    RC_ASSERT(again == fine);
    RC_ASSERT(coalesce(trial, again) == coalesce(trial, fine));
  });
}

TEST_P(PlannerConformance, AnEmptyInputHasNoShards) {
  const PlannerTrial trial = GetParam().make_trial({});
  const InputListing empty(trial.input.kind(), {}, 0);
  const Result<std::vector<ShardRange>> shards = GetParam().planner->partition(empty, trial.policy);
  ASSERT_TRUE(shards.has_value()) << shards.error().to_string();
  EXPECT_TRUE(shards->empty());
  EXPECT_TRUE(GetParam().planner->coalesce({}, trial.policy).empty());
}

TEST_P(PlannerConformance, ChoosesATargetWhereThePolicyHasNone) {
  expect_law([](PlannerTrial trial, const Shards&) {
    trial.policy.target_size = 0;
    trial.policy.worker_count = *rc::gen::inRange<std::uint64_t>(1, 6);
    const Shards fine = GetParam().planner->partition(trial.input, trial.policy).value();
    assert_cover(fine, trial.input.size());
    const Shards joined = coalesce(trial, fine);
    assert_cover(joined, trial.input.size());
    RC_ASSERT(weight_of(joined) == weight_of(fine));
    RC_ASSERT(coalesce(trial, joined) == joined);
  });
}

TEST_P(PlannerConformance, RefusesAPolicyThatIsNone) {
  const PlannerTrial trial = GetParam().make_trial({});
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
