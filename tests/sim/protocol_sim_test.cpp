// Simulates whole jobs of random shape under random misfortune; see sim/sim_world.hpp in tools.
//
//   PINION_SIM_SEED=123    only the run of that seed
//   PINION_SIM_SEEDS=5000  that many runs instead of 100
//   PINION_SIM_RANKS=10000 that many ranks in the large job, with 100 shards each, instead of 200

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/sim_shrink.hpp"
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
  FaultCounts faults;
  std::uint64_t events = 0;
  for (std::uint64_t seed = range.first; seed < range.first + range.count; ++seed) {
    const SimOptions options = SimOptions::of_seed(seed);
    World world(options);
    if (const std::string violation = world.run(); !violation.empty()) {
      const ShrunkCase smaller = shrink(options);
      FAIL() << "replay with PINION_SIM_SEED=" << seed << ": " << violation
             << "\nsmaller: " << smaller.violation << "\npinion sim "
             << smaller.options.to_string();
    }
    probes += world.probes();
    faults += world.faults();
    events += world.figures().events;
  }
  std::cout << events << " events, " << faults.total() << " faults:";
  for (std::size_t i = 0; i < kFaultCount; ++i) {
    std::cout << " " << fault_table()[i].name << " " << faults.of[i];
  }
  std::cout << "\n";
  for (const std::string_view name : probes.never_reached()) {
    std::cout << "never reached: " << name << "\n";
  }
  if (range.count >= 100) {
    EXPECT_GT(faults.total(), 100 * range.count);
  }
  if (range.count >= 2000) {
    EXPECT_THAT(probes.never_reached(), testing::IsEmpty());
  }
}

/// A job of many ranks, some of which die or stand still. Says what it took; bounds no time.
TEST(ProtocolSim, ALargeJobComesToItsEnd) {
  using namespace std::chrono_literals;
  const char* const ranks = std::getenv("PINION_SIM_RANKS");
  SimOptions options;
  options.seed = 1;
  options.rank_count = ranks == nullptr ? 200 : std::strtoull(ranks, nullptr, 10);
  options.shard_count = options.rank_count * 100;
  options.partition_count = 16;
  options.worker_count = 4;
  options.lease_count_max = 32;
  options.lease_duration = 6s;
  options.heartbeat = 2s;
  options.plan_patience = 2s;
  options.latency_max = 300us;
  options.wire_period = 1024;
  options.chaos_end = 60s;
  options.faults = Faults::parse("crash=0.02,pause=0.02,drop=0.0001,fail=0.0001").value();
  const SystemClock clock{};
  const Instant begin = clock.now();
  World world(options, &clock);
  EXPECT_EQ(world.run(), "");
  const Figures& figures = world.figures();
  const double seconds = std::chrono::duration<double>(clock.now() - begin).count();
  const auto timed = static_cast<double>(figures.timed.count());
  std::cout << options.rank_count << " ranks, " << options.shard_count << " shards, "
            << figures.events << " events, " << seconds << " s, "
            << static_cast<double>(figures.events) / seconds << " events a second, "
            << timed / static_cast<double>(std::max<std::uint64_t>(1, figures.timed_steps))
            << " ns for each of " << figures.coordinator_events << " events of the coordinator, "
            << world.faults().total() << " faults\n";
}

TEST(ProtocolSim, ASeedReplaysTheSameRun) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    World first(SimOptions::of_seed(seed));
    World second(SimOptions::of_seed(seed));
    EXPECT_EQ(first.run(), "");
    EXPECT_EQ(second.run(), "");
    EXPECT_EQ(first.now(), second.now());
    EXPECT_EQ(first.figures().events, second.figures().events);
    EXPECT_EQ(first.hash(), second.hash());
  }
}

TEST(ProtocolSim, AnotherSeedIsAnotherRun) {
  World first(SimOptions::of_seed(1));
  World second(SimOptions::of_seed(2));
  EXPECT_EQ(first.run(), "");
  EXPECT_EQ(second.run(), "");
  EXPECT_NE(first.hash(), second.hash());
}

}  // namespace
}  // namespace pinion::sim
