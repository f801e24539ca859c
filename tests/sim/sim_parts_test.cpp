// The parts that the simulation stands on.

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/sim_clock.hpp"
#include "sim/sim_event_queue.hpp"
#include "sim/sim_faults.hpp"
#include "sim/sim_heap.hpp"
#include "sim/sim_journal.hpp"
#include "sim/sim_pool.hpp"
#include "sim/sim_random.hpp"

namespace pinion::sim {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

TEST(EventQueue, TakesTheEarliestFirstAndEqualOnesAsTheyCame) {
  Random random(1);
  EventQueue queue;
  std::vector<std::tuple<Instant, std::uint32_t>> added;
  const auto add = [&](Duration delay) {
    const auto number = static_cast<std::uint32_t>(added.size());
    added.emplace_back(queue.now() + delay, number);
    queue.at(queue.now() + delay, {.payload = number});
  };
  std::vector<std::tuple<Instant, std::uint32_t>> taken;
  SimEvent event;
  for (int i = 0; i < 20'000; ++i) {
    const Duration most[] = {0ns, 3us, 1ms, 700ms, 30s, 3h};
    add(random.between(Duration::zero(), most[random.below(std::size(most))]));
    if (random.chance(0.6) && queue.take(event)) {
      EXPECT_EQ(event.when, queue.now());
      taken.emplace_back(event.when, event.payload);
    }
  }
  while (queue.take(event)) {
    taken.emplace_back(event.when, event.payload);
  }
  EXPECT_EQ(queue.size(), 0U);
  std::sort(added.begin(), added.end());
  EXPECT_EQ(taken, added);
}

TEST(EventQueue, PutsATakenEventBackInItsOldPlace) {
  EventQueue queue;
  const Instant first = queue.now() + 1ms;
  const Instant second = queue.now() + 2ms;
  queue.at(first, {.payload = 1});
  queue.at(second, {.payload = 2});
  SimEvent event;
  ASSERT_TRUE(queue.take(event));
  queue.again(second, event);
  ASSERT_TRUE(queue.take(event));
  EXPECT_EQ(event.payload, 1U);
  ASSERT_TRUE(queue.take(event));
  EXPECT_EQ(event.payload, 2U);
  EXPECT_FALSE(queue.take(event));
}

TEST(EventQueue, LetsNothingHappenInThePast) {
  EventQueue queue;
  SimEvent event;
  queue.at(queue.now() + 1s, {});
  ASSERT_TRUE(queue.take(event));
  const Instant now = queue.now();
  queue.at(now - 500ms, {});
  ASSERT_TRUE(queue.take(event));
  EXPECT_EQ(event.when, now);
}

TEST(Pool, GivesNumbersAgain) {
  Pool<std::vector<int>> pool;
  const std::uint32_t one = pool.put({1});
  const std::uint32_t two = pool.put({2, 2});
  EXPECT_NE(one, two);
  EXPECT_EQ(pool.take(one), std::vector<int>({1}));
  EXPECT_EQ(pool.put({3}), one);
  EXPECT_EQ(pool[two], std::vector<int>({2, 2}));
}

TEST(RankClock, RunsAsFastAsItLikesAndJumps) {
  const Instant begin(10s);
  RankClock clock(begin, Instant(5s), 0.05);
  EXPECT_EQ(clock.local(begin), Instant(5s));
  EXPECT_EQ(clock.local(begin + 100s), Instant(110s));
  EXPECT_GE(clock.local(clock.world(Instant(47s))), Instant(47s) - 2ns);
  EXPECT_LE(clock.local(clock.world(Instant(47s))), Instant(47s) + 2ns);
  clock.jump(-3s);
  EXPECT_EQ(clock.local(begin + 100s), Instant(107s));
}

TEST(Faults, AreReadAsTheyAreWritten) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Random random(seed);
    const Faults faults = Faults::draw(random);
    const Result<Faults> again = Faults::parse(faults.to_string());
    ASSERT_TRUE(again) << faults.to_string();
    EXPECT_EQ(*again, faults);
  }
  EXPECT_FALSE(Faults::parse("").value().any());
}

TEST(Faults, StayInTheirRanges) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    const Faults faults = Faults::draw(random);
    for (std::size_t i = 0; i < kFaultCount; ++i) {
      EXPECT_GE(faults[static_cast<Fault>(i)], 0);
      EXPECT_LE(faults[static_cast<Fault>(i)], fault_table()[i].most + 1e-4);
    }
  }
}

TEST(Faults, AreRefusedWithWords) {
  EXPECT_THAT(Faults::parse("rain=1").error().to_string(), HasSubstr("there are drop, duplicate"));
  EXPECT_THAT(Faults::parse("crash=often").error().to_string(), HasSubstr("'crash=often' must be"));
  EXPECT_THAT(Faults::parse("drop=1.5").error().to_string(), HasSubstr("of 0 to 1"));
}

/// Records that are told from each other by their step.
protocol::Record record(std::uint64_t number) {
  return protocol::StepOpened{.step = number};
}

std::vector<std::uint64_t> numbers(const std::vector<protocol::Record>& records) {
  std::vector<std::uint64_t> steps;
  for (const protocol::Record& one : records) {
    steps.push_back(std::get<protocol::StepOpened>(one).step);
  }
  return steps;
}

/// Adds records in groups of up to three and commits each, some 200 of them; the host dies at a
/// random moment. What is read is the first of what was added, and has all that was safe.
void crash_somewhere(std::uint64_t seed, const Faults& faults) {
  Random random(seed);
  FaultCounts counts;
  SimJournal journal(random, counts, {.faults = faults});
  std::uint64_t added = 0;
  for (std::uint64_t left = random.below(200); left > 0; --left) {
    if (random.chance(0.5)) {
      journal.add(record(++added));
    }
    const bool goes_on =
        journal.idle() ? !journal.has_waiting() || journal.begin_commit() : journal.end_stage();
    if (!goes_on) {
      break;
    }
  }
  const std::uint64_t safe = journal.safe_count();
  journal.crash();
  const SimJournal::Recovery recovery = journal.recover();
  std::vector<std::uint64_t> expected(recovery.records.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i] = i + 1;
  }
  EXPECT_EQ(numbers(recovery.records), expected) << "seed " << seed;
  EXPECT_LE(recovery.records.size(), added);
  if (!recovery.damaged) {
    EXPECT_GE(recovery.records.size(), safe) << "seed " << seed;
  }
}

TEST(SimJournal, GivesBackTheFirstOfWhatItWasGiven) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    crash_somewhere(seed, Faults::parse("torn_write=0.5,short_write=0.2").value());
    crash_somewhere(seed, Faults::parse("no_space=0.02,write_error=0.02").value());
    crash_somewhere(seed, Faults::parse("bit_flip=1").value());
  }
}

TEST(SimJournal, GoesOnFromWhatItHasRead) {
  Random random(1);
  FaultCounts counts;
  const Faults none;
  SimJournal journal(random, counts, {.faults = none});
  std::uint64_t added = 0;
  for (int epoch = 0; epoch < 5; ++epoch) {
    for (int i = 0; i < 60; ++i) {
      journal.add(record(++added));
      ASSERT_TRUE(journal.begin_commit());
      while (!journal.idle()) {
        ASSERT_TRUE(journal.end_stage());
      }
    }
    journal.crash();
    const SimJournal::Recovery recovery = journal.recover();
    EXPECT_EQ(recovery.records.size(), added);
    journal.restart(recovery.records);
  }
}

/// In how many page faults 64 MiB are filled.
long faults_of_filling() {
  const auto faults = [] {
    rusage usage = {};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
  };
  const long before = faults();
  const std::vector<std::uint64_t> memory(8 << 20, 1);
  return faults() - before;
}

TEST(HugeHeapDeathTest, KeepsWhatIsFreedForWhatComesNext) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer has a heap of its own";
#endif
  const auto fill_twice = [] {
    use_huge_heap();
    faults_of_filling();
    // 16384 where it is taken anew in small pages.
    std::exit(faults_of_filling() < 1000 ? 0 : 1);
  };
  EXPECT_EXIT(fill_twice(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace pinion::sim
