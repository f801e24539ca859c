#include "way_choice.hpp"

#include <map>

#include <gtest/gtest.h>

namespace pinion {
namespace {

constexpr double kWide = 1000;
constexpr double kNarrow = 3;

// Runs the graph so often, where each way takes the time that is given. Says which way it went how
// often in the last ten.
std::map<RunWay, int> last_ten(WayChoice& choice, int run_count, double width,
                               const std::map<RunWay, double>& times, std::size_t lane_count = 2) {
  std::map<RunWay, int> last;
  for (int run = 0; run < run_count; ++run) {
    const RunWay way = choice.choose(lane_count, width);
    choice.note(way, lane_count, times.at(way));
    last[way] += run >= run_count - 10 ? 1 : 0;
  }
  return last;
}

TEST(WayChoice, CountsAtFirst) {
  WayChoice choice;
  EXPECT_EQ(choice.choose(2, kWide), RunWay::kCounting);
  EXPECT_EQ(choice.choose(2, kWide), RunWay::kCounting);
  EXPECT_EQ(choice.best_time(), 0);
}

TEST(WayChoice, KeepsToTheFastest) {
  for (const RunWay fastest : {RunWay::kCounting, RunWay::kWaves, RunWay::kSweep}) {
    std::map<RunWay, double> times = {
        {RunWay::kCounting, 20}, {RunWay::kWaves, 20}, {RunWay::kSweep, 20}};
    times[fastest] = 10;
    WayChoice choice;
    EXPECT_EQ(last_ten(choice, 30, kWide, times)[fastest], 10);
    EXPECT_EQ(choice.best_time(), 10);
  }
}

TEST(WayChoice, TriesNoWavesInANarrowGraphAndNoSweepOfLongTasks) {
  WayChoice choice;
  const std::map<RunWay, double> times = {
      {RunWay::kCounting, 500}, {RunWay::kWaves, 1}, {RunWay::kSweep, 1}};
  EXPECT_EQ(last_ten(choice, 500, kNarrow, times)[RunWay::kCounting], 10);
}

TEST(WayChoice, LeavesLongTasksToCounting) {
  WayChoice choice;
  const std::map<RunWay, double> times = {{RunWay::kCounting, 50'000}, {RunWay::kWaves, 1}};
  EXPECT_EQ(last_ten(choice, 500, kWide, times)[RunWay::kCounting], 10);
}

TEST(WayChoice, TakesTheBestOfTwoTriesThatAreNearEachOther) {
  WayChoice choice;
  choice.note(choice.choose(2, kWide), 2, 120);  // The first run was slow, as everything was new.
  EXPECT_EQ(choice.choose(2, kWide), RunWay::kWaves);
  choice.note(RunWay::kWaves, 2, 100);
  EXPECT_EQ(choice.choose(2, kWide), RunWay::kCounting);
  choice.note(RunWay::kCounting, 2, 80);
  EXPECT_EQ(choice.choose(2, kWide), RunWay::kWaves);
  choice.note(RunWay::kWaves, 2, 110);
  EXPECT_EQ(choice.choose(2, kWide), RunWay::kCounting);
}

TEST(WayChoice, FollowsTasksThatChange) {
  WayChoice choice;
  std::map<RunWay, double> times = {
      {RunWay::kCounting, 100}, {RunWay::kWaves, 60}, {RunWay::kSweep, 200}};
  EXPECT_EQ(last_ten(choice, 30, kWide, times)[RunWay::kWaves], 10);
  times[RunWay::kWaves] = 150;
  EXPECT_EQ(last_ten(choice, 60, kWide, times)[RunWay::kCounting], 10);
  times[RunWay::kWaves] = 60;
  last_ten(choice, 500, kWide, times);
  EXPECT_GE(last_ten(choice, 20, kWide, times)[RunWay::kWaves], 9);
}

TEST(WayChoice, BeginsAnewWithOtherWorkers) {
  WayChoice choice;
  const std::map<RunWay, double> times = {
      {RunWay::kCounting, 20}, {RunWay::kWaves, 10}, {RunWay::kSweep, 40}};
  last_ten(choice, 30, kWide, times);
  EXPECT_EQ(choice.choose(8, kWide), RunWay::kCounting);
  choice.note(RunWay::kCounting, 2, 1);  // A run of before, on two workers.
  EXPECT_EQ(choice.choose(8, kWide), RunWay::kCounting);
}

TEST(WayChoice, KnowsWhatATaskTakesOfAllLanes) {
  WayChoice choice;
  EXPECT_EQ(choice.work_of_task(), 0);
  static_cast<void>(choice.choose(4, kWide));
  choice.note(RunWay::kCounting, 4, 25);
  EXPECT_EQ(choice.work_of_task(), 100);
  choice.note(RunWay::kSweep, 4, 60);
  EXPECT_EQ(choice.work_of_task(), 60);
}

}  // namespace
}  // namespace pinion
