// How lanes share levels, on plain threads, which the sanitizer of data races understands. What the
// units do is plain memory: a missing order is a data race.

#include "wave.hpp"

#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

TEST(WaveSeat, GivesEachUnitOnceFromBothEnds) {
  WaveSeat<> seat;
  constexpr UnitRange kSlice = {100, 110};
  const auto is = [](UnitRange range, std::uint32_t begin, std::uint32_t end) {
    return range.begin == begin && range.end == end;
  };
  EXPECT_TRUE(is(seat.left(kSlice), 100, 110));
  EXPECT_TRUE(is(seat.take_first(kSlice, 2), 100, 102));
  EXPECT_TRUE(is(seat.take_last(kSlice, 100, 1), 106, 110));
  EXPECT_TRUE(is(seat.take_last(kSlice, 1, 1), 105, 106));
  EXPECT_TRUE(seat.take_last(kSlice, 1, 4).empty());
  EXPECT_TRUE(is(seat.take_first(kSlice, 2), 102, 104));
  EXPECT_TRUE(is(seat.take_last(kSlice, 1, 1), 104, 105));
  EXPECT_TRUE(seat.take_last(kSlice, 1, 1).empty());
  EXPECT_TRUE(seat.take_first(kSlice, 1).empty());
  EXPECT_TRUE(seat.left(kSlice).empty());
}

TEST(WaveSeat, GivesNothingOfALevelThatIsOver) {
  WaveSeat<> seat;
  EXPECT_EQ(seat.take_last({0, 1}, 1, 1).size(), 1u);
  EXPECT_TRUE(seat.take_first({0, 1}, 1).empty());
  EXPECT_EQ(seat.take_first({1, 3}, 1).size(), 1u);
  EXPECT_TRUE(seat.take_first({0, 1}, 1).empty());
  EXPECT_TRUE(seat.take_last({0, 1}, 1, 1).empty());
}

TEST(Waves, CutLevelsIntoSlicesOfSomeUnits) {
  const std::uint32_t begins[] = {0, 1, 10, 110};
  Waves<> waves;
  waves.reset(begins, 3, 4, /*slice_min=*/5);
  EXPECT_EQ(waves.slice_count(0), 1u);
  EXPECT_EQ(waves.slice_count(1), 1u);
  EXPECT_EQ(waves.slice_count(2), 4u);
  EXPECT_EQ(waves.slice(1, 0).size(), 9u);
  EXPECT_TRUE(waves.slice(1, 1).empty());
  std::uint32_t end = 10;
  for (std::uint32_t lane = 0; lane < 4; ++lane) {
    EXPECT_EQ(waves.slice(2, lane).begin, end);
    end = waves.slice(2, lane).end;
  }
  EXPECT_EQ(end, 110u);
}

TEST(Waves, KnowWhichLevelGoesOn) {
  const std::uint32_t begins[] = {0, 4, 6};
  Waves<> waves;
  waves.reset(begins, 2, 2, 1);
  waves.seat(0).end(2);
  EXPECT_EQ(waves.level_from(0), 0u);
  waves.seat(1).end(2);
  EXPECT_EQ(waves.level_from(0), 1u);
  waves.seat(1).end(2);
  EXPECT_EQ(waves.level_from(1), 2u);
  waves.reset(begins, 2, 2, 1);
  EXPECT_EQ(waves.level_from(0), 0u);
}

TEST(Waves, KnowWhetherALevelNeedsMoreWorkers) {
  const std::uint32_t begins[] = {0, 1, 9};
  Waves<> waves;
  waves.reset(begins, 2, 2, 1);
  EXPECT_TRUE(waves.needs_workers(0));
  waves.seat(1).enter();
  EXPECT_FALSE(waves.needs_workers(0));
  EXPECT_TRUE(waves.needs_workers(1));
  waves.seat(0).enter();
  EXPECT_FALSE(waves.needs_workers(1));
  waves.seat(1).leave();
  EXPECT_TRUE(waves.needs_workers(1));
}

// Each unit adds up what two units of the level before came to. One of four lanes has no thread.
TEST(Waves, RunEveryUnitOnceAndInOrderOnPlainThreads) {
  constexpr std::size_t kThreads = 3;
  constexpr std::uint32_t kLanes = 4;
  constexpr std::uint32_t kWidth = 37;
  constexpr std::uint32_t kLevels = 40;
  constexpr int kRounds = 50;
  std::vector<std::uint32_t> begins;
  for (std::uint32_t level = 0; level <= kLevels; ++level) {
    begins.push_back(level * kWidth);
  }
  std::vector<std::uint64_t> sums(kLevels * kWidth);
  Waves<> waves;
  std::barrier together(kThreads);

  const auto run = [&](std::uint32_t level, UnitRange part) {
    for (std::uint32_t unit = part.begin; unit < part.end; ++unit) {
      const std::uint32_t above = level == 0 ? 0 : begins[level - 1];
      sums[unit] += level == 0 ? 1 : sums[above + unit * 7 % kWidth] + sums[above];
    }
  };
  const auto work = [&](std::uint32_t lane) {
    std::uint32_t level = 0;
    while (level < kLevels) {
      UnitRange part = waves.seat(lane).take_first(waves.slice(level, lane), 3);
      if (part.empty()) {
        part = waves.take_of_others(level, lane, 4, 1);
      }
      run(level, part);
      if (!part.empty()) {
        waves.seat(lane).end(part.size());
      } else if (const std::uint32_t next = waves.level_from(level); next > level) {
        level = next;
      } else {
        std::this_thread::yield();
      }
    }
  };
  std::vector<std::thread> threads;
  for (std::uint32_t lane = 0; lane < kThreads; ++lane) {
    threads.emplace_back([&, lane] {
      for (int round = 0; round < kRounds; ++round) {
        if (lane == 0) {
          sums.assign(sums.size(), 0);
          waves.reset(begins.data(), kLevels, kLanes, 1);
        }
        together.arrive_and_wait();
        work(lane);
        together.arrive_and_wait();
        for (std::uint32_t level = 0; lane == 0 && level < kLevels; ++level) {
          ASSERT_EQ(sums[begins[level]], std::uint64_t{1} << level) << "round " << round;
          ASSERT_EQ(sums[begins[level + 1] - 1], std::uint64_t{1} << level);
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

}  // namespace
}  // namespace pinion
