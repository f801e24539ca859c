// Simulates whole jobs of random shape under random misfortune; see sim/sim_world.hpp in tools.
//
//   PINION_SIM_SEED=123    only the run of that seed
//   PINION_SIM_SEEDS=5000  that many runs instead of 100

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
