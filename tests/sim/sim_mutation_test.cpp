// Breaks one rule at a time and expects the simulation to notice, by the violation that it is.

#include <cstdint>
#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/sim_shrink.hpp"
#include "sim/sim_world.hpp"

namespace pinion::sim {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kSeedCount = 100;

struct Mutation {
  std::string name;
  std::function<void(SimOptions&)> apply;
  testing::Matcher<std::string> violation;
};

void PrintTo(const Mutation& mutation, std::ostream* stream) {
  *stream << mutation.name;
}

class ProtocolSimMutation : public testing::TestWithParam<Mutation> {};

/// The first of kSeedCount seeds that fails.
SimOptions first_failing(const Mutation& mutation) {
  SimOptions options;
  for (std::uint64_t seed = 1; seed <= kSeedCount; ++seed) {
    options = SimOptions::of_seed(seed);
    mutation.apply(options);
    if (!World(options).run().empty()) {
      break;
    }
  }
  return options;
}

TEST_P(ProtocolSimMutation, IsNoticed) {
  const SimOptions options = first_failing(GetParam());
  EXPECT_THAT(World(options).run(), GetParam().violation);
}

TEST_P(ProtocolSimMutation, FailsAgainBitForBitAndSmaller) {
  const SimOptions options = first_failing(GetParam());
  const ShrunkCase shrunk = shrink(options, 60);
  ASSERT_THAT(shrunk.violation, testing::Not(IsEmpty()));
  EXPECT_LE(shrunk.options.rank_count, options.rank_count);
  EXPECT_LE(shrunk.options.shard_count, options.shard_count);
  World first(shrunk.options);
  World second(shrunk.options);
  EXPECT_EQ(first.run(), shrunk.violation);
  EXPECT_EQ(second.run(), shrunk.violation);
  EXPECT_EQ(first.hash(), second.hash());
}

const Mutation kMutations[] = {
    {"NoFence", [](SimOptions& options) { options.mutations.accept_stale_fence = true; },
     HasSubstr("is not the newest")},
    // Where a report only comes again, and no other rank reports what is accepted.
    {"AUnitAcceptedTwice",
     [](SimOptions& options) {
       options.mutations.accept_twice = true;
       options.faults = {};
       options.faults.set(Fault::kDuplicate, 0.1);
     },
     HasSubstr("kept before")},
    {"LeasesOfALostRankForgotten",
     [](SimOptions& options) { options.mutations.forget_lost_leases = true; },
     HasSubstr("the job")},
    // In an ordered step only: elsewhere any order gives the same sums.
    {"MergedInTheOrderOfReports",
     [](SimOptions& options) { options.mutations.merge_in_order_of_reports = true; },
     HasSubstr("has a wrong sum")},
    {"CounterReused", [](SimOptions& options) { options.mutations.reuse_fences = true; },
     HasSubstr("a fence that is not greater than the last")},
    {"ExtendedAfterExpiry", [](SimOptions& options) { options.mutations.extend_any_lease = true; },
     HasSubstr("is extended that is not the newest")},
    {"UnboundedRetry", [](SimOptions& options) { options.mutations.retry_for_ever = true; },
     HasSubstr("the job does not come to its end")},
    {"ForgottenNack", [](SimOptions& options) { options.rank_mutations.forget_give_back = true; },
     HasSubstr("the job does not come to its end")},
    {"WallClockDeadline", [](SimOptions& options) { options.driver_mutations.wall_clock = true; },
     AnyOf(HasSubstr("is granted while another's lease of it is live"), HasSubstr("is refused"))},
    {"ReleaseBeforeAccept",
     [](SimOptions& options) { options.driver_mutations.release_before_accept = true; },
     HasSubstr("does not exist any more")},
    {"DoubleTimer", [](SimOptions& options) { options.driver_mutations.double_timer = true; },
     HasSubstr("too much is left to happen")},
};

INSTANTIATE_TEST_SUITE_P(EachRule, ProtocolSimMutation, testing::ValuesIn(kMutations),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace pinion::sim
