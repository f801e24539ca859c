#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/gpu/device_policy.hpp>

#include "pipeline_bed.hpp"

// The policy over pipelines of emulated devices: what an engine does with both. Rates are measured
// in virtual time as an engine would, by what ends when, with copies and kernels that overlap.

namespace pinion {
namespace {

using testing::PipelineBed;
using testing::Shards;

constexpr std::size_t kDepth = 3;

class PolicyRun {
 public:
  PolicyRun(const std::string& spec, Shards& shards)
      : bed_(spec,
             {.pipeline = {.depth = kDepth, .hang = {.first = std::chrono::milliseconds(10)}}}),
        shards_(shards),
        policy_(devices_of(bed_), {.batch_bytes = 1}),
        states_(bed_.devices().devices().size()) {
    std::vector<std::size_t> all(shards.records.size());
    for (std::size_t shard = 0; shard < all.size(); ++shard) {
      all[shard] = shard;
    }
    place(all);
  }

  // Until no shard is left; when the last one has ended.
  Duration run() {
    feed_all();
    bed_.run();
    return last_end_ - Instant();
  }

  PipelineBed& bed() { return bed_; }
  DevicePolicy& policy() { return policy_; }
  [[nodiscard]] std::size_t done_on(std::size_t device) const { return states_[device].done; }

 private:
  struct DeviceState {
    std::size_t on_device = 0;
    std::size_t done = 0;
    Instant last_end = {};
    bool retired = false;
  };

  static std::vector<PolicyDevice> devices_of(PipelineBed& bed) {
    std::vector<PolicyDevice> devices;
    for (IDevice* const device : bed.devices().devices()) {
      devices.push_back({.name = device->info().uuid,
                         .memory_bytes = device->info().memory_bytes,
                         .near_memory = device->info().near_memory});
    }
    return devices;
  }

  void place(const std::vector<std::size_t>& shards) {
    std::vector<PolicyShard> asked;
    for (const std::size_t shard : shards) {
      asked.push_back({.kernel = "map_twice_plus",
                       .input_bytes = shards_.input_of(shard).size(),
                       .other_bytes = shards_.input_of(shard).size()});
    }
    const std::vector<PolicyChoice> choices = policy_.place(asked, bed_.now());
    for (std::size_t index = 0; index < shards.size(); ++index) {
      ASSERT_EQ(choices[index].verdict, PolicyVerdict::kRun) << choices[index].reason;
      shard_of_[choices[index].ticket] = shards[index];
    }
  }

  void feed_all() {
    for (std::size_t device = 0; device < states_.size(); ++device) {
      feed(device);
    }
  }

  void feed(std::size_t device) {
    DeviceState& state = states_[device];
    while (!state.retired && state.on_device < kDepth) {
      const std::vector<std::uint64_t> tickets = policy_.next(device, bed_.now());
      if (tickets.empty()) {
        return;
      }
      ++state.on_device;
      submit(device, tickets.front());
    }
  }

  void submit(std::size_t device, std::uint64_t ticket) {
    const std::size_t shard = shard_of_.at(ticket);
    DeviceWork work = bed_.work(shards_, shard);
    const Instant begun = bed_.now();
    work.on_done = [this, device, ticket, shard, begun,
                    told = std::move(work.on_done)](const WorkOutcome& outcome) {
      DeviceState& state = states_[device];
      --state.on_device;
      if (outcome.status.ok()) {
        told(outcome);
        ++state.done;
        // What others of the device took before is not this one's.
        policy_.ended(ticket, bed_.now() - std::max(begun, state.last_end));
        state.last_end = bed_.now();
        last_end_ = bed_.now();
        feed_all();
      } else {
        leave(device, ticket, shard);
      }
    };
    EXPECT_TRUE(bed_.pipeline(device).submit(std::move(work)).ok());
  }

  void leave(std::size_t device, std::uint64_t ticket, std::size_t shard) {
    std::vector<std::size_t> again = {shard};
    policy_.dropped(ticket);
    if (!states_[device].retired) {
      states_[device].retired = true;
      for (const std::uint64_t waiting : policy_.retire(device)) {
        again.push_back(shard_of_.at(waiting));
      }
    }
    place(again);
    feed_all();
  }

  PipelineBed bed_;
  Shards& shards_;
  DevicePolicy policy_;
  std::vector<DeviceState> states_;
  std::map<std::uint64_t, std::size_t> shard_of_;
  Instant last_end_;
};

TEST(PolicyRun, DividesShardsByWhatTheDevicesDo) {
  // The second device takes three times as long, which nobody has told the policy. Each byte takes
  // a nanosecond in each stage of the first one.
  Shards shards(200, 5000);
  PolicyRun run("emu:2,mem=1m,pinned=4m,h2d=1g,d2h=1g,fault=1:slow@3x", shards);
  const Duration end = run.run();
  PipelineBed::expect_done(shards);
  EXPECT_NEAR(static_cast<double>(run.done_on(0)) / static_cast<double>(run.done_on(1)), 3.0, 0.3);
  // The best that 200 shards can do: each device is busy from its first copy in to its last one
  // out, with three stages that take as long as each other.
  std::uint64_t best = ~std::uint64_t{0};
  for (std::uint64_t first = 0; first <= 200; ++first) {
    best = std::min(best, std::max((first + 2) * 5000, (200 - first + 2) * 15'000));
  }
  EXPECT_EQ(best, 765'000u);
  EXPECT_LE(static_cast<double>(end.count()), 1.05 * static_cast<double>(best));
  run.bed().expect_nothing_left();
}

TEST(PolicyRun, GivesTheShardsOfADeviceThatFailsToOthers) {
  for (const char* const fault : {"sticky@20", "hang@20", "lost@40us"}) {
    SCOPED_TRACE(fault);
    Shards shards(60, 5000);
    PolicyRun run("emu:3,mem=1m,pinned=4m,h2d=1g,d2h=1g,fault=1:" + std::string(fault), shards);
    run.run();
    PipelineBed::expect_done(shards);
    EXPECT_GT(run.done_on(1), 0u);
    EXPECT_LT(run.done_on(1), 20u);
    EXPECT_EQ(run.done_on(0) + run.done_on(1) + run.done_on(2), 60u);
    run.bed().expect_nothing_left();
  }
}

}  // namespace
}  // namespace pinion
