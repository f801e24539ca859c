// Breaks one rule at a time and expects the simulation to notice, by the violation that it is.

#include <algorithm>
#include <cstdint>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/sim_mutations.hpp"
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
  testing::Matcher<std::string> violation;
  Faults faults = {};  ///< Of the seeds, where it says none.
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
    find_mutation(mutation.name)->flag(options) = true;
    if (mutation.faults.any()) {
      options.faults = mutation.faults;
    }
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

/// What a case is made of: whatever is taken away from it makes this less.
std::uint64_t size_of(const SimOptions& options) {
  std::uint64_t size = options.rank_count + options.host_count + options.step_count +
                       options.shard_count + options.partition_count + options.worker_count +
                       options.lease_count_max + options.batch_shard_max +
                       static_cast<std::uint64_t>(options.chaos_end / std::chrono::milliseconds(1));
  for (std::size_t fault = 0; fault < kFaultCount; ++fault) {
    size += options.faults[static_cast<Fault>(fault)] > 0 ? 1 : 0;
  }
  return size;
}

TEST_P(ProtocolSimMutation, FailsAgainBitForBitAndSmaller) {
  const SimOptions options = first_failing(GetParam());
  ShrunkCase shrunk = shrink(options, 60);
  if (size_of(shrunk.options) == size_of(options)) {
    shrunk = shrink(options);  // What is rare takes more tries.
  }
  ASSERT_THAT(shrunk.violation, testing::Not(IsEmpty()));
  EXPECT_LT(size_of(shrunk.options), size_of(options));
  World first(shrunk.options);
  World second(shrunk.options);
  EXPECT_EQ(first.run(), shrunk.violation);
  EXPECT_EQ(second.run(), shrunk.violation);
  EXPECT_EQ(first.hash(), second.hash());
}

const Mutation kMutations[] = {
    {"no-fence", HasSubstr("is not the newest")},
    // Where a report only comes again, and no other rank reports what is accepted.
    {"accept-twice", HasSubstr("kept before"), Faults::parse("duplicate=0.1").value()},
    {"forget-lost-leases", HasSubstr("the job")},
    // In an ordered step only: elsewhere any order gives the same sums.
    {"merge-in-order-of-reports", HasSubstr("has a wrong sum")},
    {"reuse-fences", HasSubstr("a fence that is not greater than the last")},
    {"extend-any-lease", HasSubstr("is extended that is not the newest")},
    {"ignore-digests", HasSubstr("goes unnoticed"),
     Faults::parse("differs=0.5,hang=0.05,pause=3").value()},
    {"retry-for-ever", HasSubstr("the job does not come to its end")},
    {"forget-give-back", HasSubstr("the job does not come to its end")},
    {"wall-clock", AnyOf(HasSubstr("is granted while another's lease of it is live"),
                         HasSubstr("is refused"), HasSubstr("is taken away before its deadline"))},
    {"forget-deadlines", HasSubstr("missed its deadline unnoticed")},
    {"release-before-accept", HasSubstr("does not exist any more")},
    {"accept-stale-epoch", HasSubstr("another epoch"),
     Faults::parse("head_crash=4,stall=0.4").value()},
    {"accept-older-life", HasSubstr("a report of a fenced life is accepted"),
     Faults::parse("crash=2,stall=0.1").value()},
    {"reply-before-sync", HasSubstr("is forgotten"), Faults::parse("head_crash=4").value()},
    {"cut-log-early", HasSubstr("is forgotten"),
     Faults::parse("head_crash=4,torn_write=0.5").value()},
    {"believe-torn-snapshot", HasSubstr("is forgotten"),
     Faults::parse("head_crash=4,torn_write=0.8").value()},
    {"ignore-damage", HasSubstr("wrong"), Faults::parse("head_crash=4,bit_flip=0.5").value()},
    {"keep-partials-of-lost-host",
     AnyOf(HasSubstr("is missing from the kept partials"), HasSubstr("cannot be read")),
     Faults::parse("host_crash=2").value()},
    {"merge-members-too", HasSubstr("counts a shard twice or misses one")},
    // Which takes a host that is lost between the end of a pair and that of the step.
    {"keep-pairs-of-lost-host", HasSubstr("counts a shard twice or misses one"),
     Faults::parse("host_crash=10,slow=0.5").value()},
    {"plan-for-the-planner",
     AnyOf(HasSubstr("is left out of a plan"), HasSubstr("is made again for other places"))},
    {"keep-ended-steps", HasSubstr("the coordinator remembers too much")},
    {"double-timer", HasSubstr("too much is left to happen")},
};

// This bug shows whatever the job is, so nothing has to stay.
TEST(ProtocolSimMutations, AreShrunkToWhatTheyNeed) {
  SimOptions options = SimOptions::of_seed(12);
  options.host_count = options.rank_count = 8;
  options.steadfast_rank = 5;
  options.partition_count = 4;
  options.shard_deadline = std::chrono::seconds(2);
  options.lease_duration = std::chrono::milliseconds(321);
  options.attempt_count_max = 6;
  options.second_attempts = false;
  options.skip_bad = false;
  options.faults = Faults::parse("crash=1,pause=1,head_crash=1,fail=0.05").value();
  options.chaos_end = std::chrono::seconds(1);
  options.mutations.keep_ended_steps = true;
  const ShrunkCase shrunk = shrink(options);
  EXPECT_THAT(shrunk.violation, HasSubstr("the coordinator remembers too much"));
  const SimOptions& left = shrunk.options;
  const SimOptions usual;
  for (const std::uint64_t number :
       {left.rank_count, left.host_count, left.step_count, left.shard_count, left.worker_count,
        left.lease_count_max, left.batch_shard_max}) {
    EXPECT_EQ(number, 1U);
  }
  EXPECT_EQ(left.partition_count, 0U);
  EXPECT_EQ(left.steadfast_rank, 0U);
  EXPECT_FALSE(left.faults.any()) << left.faults.to_string();
  EXPECT_LE(left.chaos_end, std::chrono::milliseconds(1));
  EXPECT_EQ(left.shard_deadline, Duration::zero());
  EXPECT_EQ(left.lease_duration, usual.lease_duration);
  EXPECT_EQ(left.attempt_count_max, usual.attempt_count_max);
  EXPECT_TRUE(left.second_attempts);
}

// So short that nothing is looked at before its end.
TEST(ProtocolSimMutations, ALeakIsNoticedInAShortJobToo) {
  SimOptions options{.shard_count = 1};
  World whole(options);
  EXPECT_EQ(whole.run(), "");
  EXPECT_LT(whole.figures().events, 100U);
  options.mutations.keep_ended_steps = true;
  EXPECT_THAT(World(options).run(), HasSubstr("the coordinator remembers too much"));
}

TEST(ProtocolSimMutations, AreAllTried) {
  for (const MutationInfo& mutation : mutation_table()) {
    EXPECT_TRUE(std::any_of(std::begin(kMutations), std::end(kMutations),
                            [&](const Mutation& tried) { return tried.name == mutation.name; }))
        << mutation.name;
  }
}

INSTANTIATE_TEST_SUITE_P(EachRule, ProtocolSimMutation, testing::ValuesIn(kMutations),
                         [](const auto& parameter) {
                           std::string name = parameter.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace pinion::sim
