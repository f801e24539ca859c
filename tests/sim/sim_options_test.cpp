// What seeds draw, and what is said of it.

#include <cstdint>
#include <iterator>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/sim_knobs.hpp"
#include "sim/sim_options.hpp"

namespace pinion::sim {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::uint64_t kSeedCount = 1000;

std::uint64_t in_ms(Duration time) {
  return static_cast<std::uint64_t>(time / 1ms);
}

/// What 1000 seeds have of a number.
template <class Number>
std::set<std::uint64_t> drawn(Number number) {
  std::set<std::uint64_t> values;
  for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
    values.insert(number(SimOptions::of_seed(seed)));
  }
  return values;
}

/// In the range of the knob, but for seeds that leave it alone, and nearly from end to end of it.
void expect_drawn_from(Knob knob, std::set<std::uint64_t> values, std::uint64_t untouched) {
  const KnobInfo& of = info(knob);
  SCOPED_TRACE(of.name);
  if (of.share < 1) {
    EXPECT_TRUE(values.contains(untouched)) << "no seed leaves it alone";
    if (untouched < of.least || untouched > of.most) {
      values.erase(untouched);
    }
  }
  ASSERT_FALSE(values.empty());
  EXPECT_GE(*values.begin(), of.least);
  EXPECT_LE(*values.rbegin(), of.most);
  const std::uint64_t slack = (of.most - of.least) / 10;
  EXPECT_LE(*values.begin(), of.least + slack);
  EXPECT_GE(*values.rbegin(), of.most - slack);
}

TEST(Knobs, AreDrawnFromTheWholeOfTheirRanges) {
  using O = SimOptions;
  const O usual;
  expect_drawn_from(Knob::kRanks, drawn([](const O& of) { return of.rank_count; }), 0);
  expect_drawn_from(Knob::kSteps, drawn([](const O& of) { return of.step_count; }), 0);
  expect_drawn_from(Knob::kShards, drawn([](const O& of) { return of.shard_count; }), 0);
  expect_drawn_from(Knob::kPartitions, drawn([](const O& of) { return of.partition_count; }), 0);
  expect_drawn_from(Knob::kWorkers, drawn([](const O& of) { return of.worker_count; }), 0);
  expect_drawn_from(Knob::kLeases, drawn([](const O& of) { return of.lease_count_max; }), 0);
  expect_drawn_from(Knob::kBatch, drawn([](const O& of) { return of.batch_shard_max; }), 0);
  expect_drawn_from(Knob::kBody, drawn([](const O& of) { return in_ms(of.body_max) * 1000; }), 0);
  expect_drawn_from(Knob::kWanted, drawn([](const O& of) { return of.wanted_count; }), 0);
  expect_drawn_from(Knob::kShardDeadline,
                    drawn([](const O& of) { return in_ms(of.shard_deadline); }), 0);
  expect_drawn_from(Knob::kLease, drawn([](const O& of) { return in_ms(of.lease_duration); }),
                    in_ms(usual.lease_duration));
  expect_drawn_from(Knob::kHeartbeat, drawn([](const O& of) { return in_ms(of.heartbeat); }),
                    in_ms(usual.heartbeat));
  expect_drawn_from(Knob::kPatience, drawn([](const O& of) { return in_ms(of.plan_patience); }),
                    in_ms(usual.plan_patience));
  expect_drawn_from(Knob::kAttempts, drawn([](const O& of) { return of.attempt_count_max; }),
                    usual.attempt_count_max);
  expect_drawn_from(Knob::kDeaths, drawn([](const O& of) { return of.death_count_max; }), 0);
}

TEST(Knobs, ThatAreFlagsAreHadByTheirShareOfTheSeeds) {
  std::uint64_t counts[4] = {};
  for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
    const SimOptions options = SimOptions::of_seed(seed);
    counts[0] += options.every_rank_plans ? 0 : 1;
    counts[1] += options.skip_bad ? 1 : 0;
    counts[2] += options.devices ? 1 : 0;
    counts[3] += options.second_attempts ? 0 : 1;
    EXPECT_TRUE(!options.skip_bad || options.death_count_max == 0) << seed;
  }
  const Knob knobs[] = {Knob::kOnePlanner, Knob::kSkipBad, Knob::kDevices, Knob::kNoSecondAttempts};
  for (std::size_t i = 0; i < std::size(knobs); ++i) {
    EXPECT_NEAR(static_cast<double>(counts[i]), info(knobs[i]).share * kSeedCount, 60)
        << info(knobs[i]).name;
  }
}

TEST(SimOptions, SayByWhichRulesTheyGo) {
  SimOptions options;
  EXPECT_THAT(options.to_string(), HasSubstr(" --attempts 4 "));
  EXPECT_THAT(options.to_string(), testing::Not(HasSubstr("--deaths")));
  options.attempt_count_max = 6;
  options.death_count_max = 3;
  options.second_attempts = false;
  EXPECT_THAT(options.to_string(),
              testing::AllOf(HasSubstr(" --attempts 6 "), HasSubstr(" --deaths 3"),
                             HasSubstr(" --no-second-attempts")));
}

}  // namespace
}  // namespace pinion::sim
