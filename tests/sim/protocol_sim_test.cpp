// Simulates whole jobs of random shape under random misfortune; see sim_world.hpp.
//
//   PINION_SIM_SEED=123    only the run of that seed
//   PINION_SIM_SEEDS=5000  that many runs instead of 100

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/sim_world.hpp"

namespace pinion::sim {
namespace {

struct Seeds {
  std::uint64_t first = 1;
  std::uint64_t count = 100;
};

Seeds seeds() {
  if (const char* const one = std::getenv("PINION_SIM_SEED")) {
    return {.first = std::strtoull(one, nullptr, 10), .count = 1};
  }
  if (const char* const count = std::getenv("PINION_SIM_SEEDS")) {
    return {.count = std::strtoull(count, nullptr, 10)};
  }
  return {};
}

TEST(ProtocolSim, EveryShardCountsOnceWhateverDiesOrIsLate) {
  const Seeds range = seeds();
  Probes probes;
  for (std::uint64_t seed = range.first; seed < range.first + range.count; ++seed) {
    SCOPED_TRACE(testing::Message() << "replay with PINION_SIM_SEED=" << seed);
    World world(SimOptions::of_seed(seed));
    ASSERT_EQ(world.run(), "");
    probes += world.probes();
  }
  std::cout << probes.events << " events, " << probes.crashes << " crashes ("
            << probes.deaths_for_good << " for good), " << probes.pauses << " pauses, "
            << probes.fast_forwards << " fast-forwards, " << probes.accepted_reports
            << " reports accepted and " << probes.refused_reports << " refused, "
            << probes.second_grants << " units granted again (" << probes.second_attempts
            << " beside a late rank), " << probes.dropped_leases << " times leases dropped, "
            << probes.failed_bodies << " bodies failed, " << probes.resent_reports
            << " reports sent again, " << probes.messages_of_dead_lives
            << " messages of dead lives\n";
  if (range.count < 100) {
    return;
  }
  EXPECT_GT(probes.crashes, 0U);
  EXPECT_GT(probes.deaths_for_good, 0U);
  EXPECT_GT(probes.pauses, 0U);
  EXPECT_GT(probes.fast_forwards, 0U);
  EXPECT_GT(probes.accepted_reports, 0U);
  EXPECT_GT(probes.refused_reports, 0U);
  EXPECT_GT(probes.resent_reports, 0U);
  EXPECT_GT(probes.failed_bodies, 0U);
  EXPECT_GT(probes.dropped_leases, 0U);
  EXPECT_GT(probes.second_grants, 0U);
  EXPECT_GT(probes.second_attempts, 0U);
  EXPECT_GT(probes.messages_of_dead_lives, 0U);
}

TEST(ProtocolSim, ASeedReplaysTheSameRun) {
  World first(SimOptions::of_seed(7));
  World second(SimOptions::of_seed(7));
  EXPECT_EQ(first.run(), "");
  EXPECT_EQ(second.run(), "");
  EXPECT_EQ(first.now(), second.now());
  EXPECT_EQ(first.probes().events, second.probes().events);
}

/// The violation that the first of 100 seeds finds, or nothing.
std::string first_violation(const protocol::CoordinatorMutations& mutations) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SimOptions options = SimOptions::of_seed(seed);
    options.mutations = mutations;
    World world(options);
    std::string violation = world.run();
    if (!violation.empty()) {
      return violation;
    }
  }
  return {};
}

TEST(ProtocolSimMutation, AcceptingAStaleFenceIsNoticed) {
  EXPECT_THAT(first_violation({.accept_stale_fence = true}),
              testing::HasSubstr("is not the newest"));
}

TEST(ProtocolSimMutation, AcceptingAUnitTwiceIsNoticed) {
  EXPECT_THAT(first_violation({.accept_twice = true}), testing::HasSubstr("kept before"));
}

TEST(ProtocolSimMutation, ForgettingTheLeasesOfALostRankIsNoticed) {
  EXPECT_THAT(first_violation({.forget_lost_leases = true}), testing::HasSubstr("the job"));
}

// In an ordered step only: elsewhere any order gives the same sums.
TEST(ProtocolSimMutation, MergingInTheOrderOfReportsIsNoticed) {
  EXPECT_THAT(first_violation({.merge_in_order_of_reports = true}),
              testing::HasSubstr("has a wrong sum"));
}

}  // namespace
}  // namespace pinion::sim
