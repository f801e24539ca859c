#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "pipeline_bed.hpp"

// Every fault in every state of a shard. A fault is planted at each operation or at each instant of
// a run in turn, so it meets each shard while it waits, is copied in, computed, copied out and
// told. What the first device did not do goes to the second one, as an engine would have it.
//
// Always: each shard ends once, what is said to be done is right, nothing is lost, and neither
// budgets nor staging keep anything.

namespace pinion {
namespace {

using testing::PipelineBed;
using testing::Record;
using testing::Shards;

constexpr std::size_t kShardCount = 6;
constexpr std::size_t kOperationCount = 3 * kShardCount;
constexpr std::size_t kShardBytes = 1000;

// What the three stages of six shards take, when the longest is 1000 ns.
constexpr std::uint64_t kRunTime_ns = (kShardCount + 2) * kShardBytes;

struct Situation {
  std::string settings = {};
  bool registered_input = false;
  std::size_t depth = 3;
};

std::vector<Situation> situations() {
  std::vector<Situation> all;
  for (const bool registered : {false, true}) {
    for (const std::size_t depth : {1u, 2u, 3u}) {
      all.push_back({.registered_input = registered, .depth = depth});
    }
  }
  all.push_back({.settings = ",copy_engines=1"});
  all.push_back({.settings = ",latency=300ns,kern=3x"});
  return all;
}

// Runs all shards with `fault` on the first device, and gives what comes back to the second one.
// The number of shards that came back.
std::size_t run_with(const Situation& situation, const std::string& fault, DeviceFault expected) {
  SCOPED_TRACE(fault + situation.settings + " depth " + std::to_string(situation.depth) +
               (situation.registered_input ? " registered" : ""));
  std::vector<DeviceHang> hangs;
  PipelineBed bed(
      "emu:2,mem=1m,pinned=4m,h2d=1g,d2h=1g,pageable=500m" + situation.settings +
          ",fault=0:" + fault,
      {.pipeline = {.depth = situation.depth,
                    .hang = {.first = std::chrono::milliseconds(1)},
                    .on_hang = [&](const DeviceHang& hang) { hangs.push_back(hang); }}});
  Shards shards(kShardCount, kShardBytes);
  {
    const HostRegistration registration = situation.registered_input
                                              ? bed.device().register_host(shards.input).value()
                                              : HostRegistration();
    bed.submit_all(shards);
    bed.run();
  }
  bed.expect_told(hangs, shards);
  const std::size_t handed_back = bed.submit_what_came_back(shards, expected);
  EXPECT_EQ(bed.device().fault(), handed_back > 0 ? expected : bed.device().fault());
  bed.run();
  PipelineBed::expect_done(shards, std::nullopt);
  bed.expect_nothing_left();
  return handed_back;
}

TEST(PipelineFaults, AStickyFaultAtAnyOperationLosesNothing) {
  for (const Situation& situation : situations()) {
    for (std::size_t at = 1; at <= kOperationCount; ++at) {
      const std::size_t back =
          run_with(situation, "sticky@" + std::to_string(at), DeviceFault::kSticky);
      EXPECT_GE(back, 1u);
      // What was done before is not done again.
      EXPECT_LE(back, kShardCount - (at - 1) / 3 + situation.depth);
    }
    EXPECT_EQ(
        run_with(situation, "sticky@" + std::to_string(kOperationCount + 1), DeviceFault::kSticky),
        0u);
  }
}

TEST(PipelineFaults, AHangAtAnyOperationLosesNothing) {
  for (const Situation& situation : situations()) {
    for (std::size_t at = 1; at <= kOperationCount; ++at) {
      EXPECT_GE(run_with(situation, "hang@" + std::to_string(at), DeviceFault::kHang), 1u);
    }
  }
}

TEST(PipelineFaults, ALossAtAnyInstantLosesNothing) {
  for (const Situation& situation : situations()) {
    std::size_t last = kShardCount;
    for (std::uint64_t at = 1; at <= 6 * kRunTime_ns; at += 250) {
      const std::size_t back =
          run_with(situation, "lost@" + std::to_string(at) + "ns", DeviceFault::kLost);
      EXPECT_LE(back, last) << "a later loss cost more";
      last = back;
    }
    EXPECT_EQ(last, 0u);
  }
}

TEST(PipelineFaults, MemoryThatLacksAtAnyAllocationCostsNothing) {
  for (const Situation& situation : situations()) {
    for (std::size_t at = 1; at <= situation.depth + 1; ++at) {
      EXPECT_EQ(run_with(situation, "oom@" + std::to_string(at), DeviceFault::kOutOfMemory), 0u);
    }
  }
}

TEST(PipelineFaults, SlowUnregisteredAndWrongDevicesLoseNothing) {
  for (const Situation& situation : situations()) {
    EXPECT_EQ(run_with(situation, "slow@7.5x", DeviceFault::kNone), 0u);
    EXPECT_EQ(run_with(situation, "wrongarch", DeviceFault::kConfiguration), 0u);
    if (!situation.registered_input) {
      EXPECT_EQ(run_with(situation, "regfail", DeviceFault::kConfiguration), 0u);
    }
  }
}

// Two faults: memory lacks, and what is tried again meets the end of the device.
TEST(PipelineFaults, MemoryThatLacksAndAStickyFaultLoseNothing) {
  for (std::size_t allocation = 1; allocation <= 4; ++allocation) {
    for (std::size_t at = 1; at <= kOperationCount; ++at) {
      run_with({}, "oom@" + std::to_string(allocation) + ",fault=0:sticky@" + std::to_string(at),
               DeviceFault::kSticky);
    }
  }
}

// The pipeline ends while the fault is on its way.
TEST(PipelineFaults, APipelineThatEndsAtAnyInstantTellsEveryShard) {
  for (const char* const fault : {"sticky@8", "hang@8", "lost@3500ns", "slow@2x", "wrongarch"}) {
    for (std::uint64_t at = 0; at <= 2 * kRunTime_ns; at += 500) {
      SCOPED_TRACE(std::string(fault) + " ends at " + std::to_string(at));
      PipelineBed bed(std::string(testing::kEven) + ",fault=" + fault,
                      {.pipeline = {.hang = {.first = std::chrono::milliseconds(1)}}});
      Shards shards(kShardCount, kShardBytes);
      bed.submit_all(shards);
      bed.devices().virtual_time()->advance(Duration(static_cast<Duration::rep>(at)));
      bed.end_pipelines();
      for (std::size_t shard = 0; shard < kShardCount; ++shard) {
        EXPECT_EQ(shards.records[shard].calls, 1);
        if (shards.records[shard].code == ErrorCode::kOk) {
          EXPECT_EQ(shards.records[shard].result, shards.expected(shard));
        }
      }
      bed.expect_nothing_left();
    }
  }
}

// In real time, with threads that submit while the device works, fails or is abandoned.
TEST(PipelineFaults, ThreadsThatSubmitAreAllTold) {
  constexpr unsigned kThreadCount = 3;
  for (const char* const fault : {"slow@1x", "sticky@40", "oom@2", "wrongarch", "abandoned"}) {
    SCOPED_TRACE(fault);
    const bool abandoned = std::string(fault) == "abandoned";
    PipelineBed bed(std::string(testing::kEven) + ",time=real" +
                    (abandoned ? "" : ",fault=" + std::string(fault)));
    std::vector<std::unique_ptr<Shards>> all;
    for (unsigned thread = 0; thread < kThreadCount; ++thread) {
      all.push_back(std::make_unique<Shards>(20, kShardBytes));
    }
    std::vector<std::thread> threads;
    for (const std::unique_ptr<Shards>& shards : all) {
      threads.emplace_back([&bed, &shards = *shards] { bed.submit_all(shards); });
    }
    if (abandoned) {
      threads.emplace_back([&bed] { bed.device().abandon(); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    bed.expect_nothing_left();
    for (const std::unique_ptr<Shards>& shards : all) {
      for (std::size_t shard = 0; shard < shards->records.size(); ++shard) {
        EXPECT_EQ(shards->records[shard].calls, 1);
        if (shards->records[shard].code == ErrorCode::kOk) {
          EXPECT_EQ(shards->records[shard].result, shards->expected(shard));
        }
      }
    }
  }
}

}  // namespace
}  // namespace pinion
