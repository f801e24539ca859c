#include <pinion/gpu/device_policy.hpp>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/bytes.hpp>

namespace pinion {
namespace {

using std::chrono::nanoseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr Instant kBegin = {};
constexpr Place kNode0 = {PlaceKind::kNuma, 0, 0};
constexpr Place kNode1 = {PlaceKind::kNuma, 1, 0};

std::vector<PolicyDevice> two_gpus_and_a_host() {
  return {{.name = "GPU 0", .memory_bytes = 1_GiB, .near_memory = kNode0},
          {.name = "GPU 1", .memory_bytes = 1_GiB, .near_memory = kNode1},
          {.name = "host", .memory_bytes = 0, .near_memory = kNode0}};
}

PolicyShard shard_of(std::uint64_t bytes, Place home = kNode0) {
  return {.kernel = "sum", .input_bytes = bytes, .home = home};
}

std::vector<std::size_t> devices_of(const std::vector<PolicyChoice>& choices) {
  std::vector<std::size_t> devices;
  for (const PolicyChoice& choice : choices) {
    EXPECT_EQ(choice.verdict, PolicyVerdict::kRun) << choice.reason;
    devices.push_back(choice.device);
  }
  return devices;
}

// Each device has run one shard of each home, at `rates` nanoseconds a byte.
void teach(DevicePolicy& policy, const std::vector<std::uint64_t>& rates) {
  for (std::size_t round = 0; round < rates.size(); ++round) {
    const std::vector<PolicyShard> one = {shard_of(1000)};
    const std::size_t device = policy.place(one, kBegin)[0].device;
    for (const std::uint64_t ticket : policy.next(device, kBegin)) {
      policy.ended(ticket, nanoseconds(1000 * rates[device]));
    }
  }
  for (std::size_t device = 0; device < rates.size(); ++device) {
    EXPECT_EQ(policy.expected(device, shard_of(10)), nanoseconds(10 * rates[device]));
  }
}

TEST(DevicePolicy, TriesAKernelOnEachDeviceWithOneShardTheNearestFirst) {
  DevicePolicy policy(two_gpus_and_a_host(), {});
  const std::vector<PolicyShard> one = {shard_of(1000, kNode1)};
  EXPECT_THAT(devices_of(policy.place(one, kBegin)), ElementsAre(1));
  EXPECT_THAT(devices_of(policy.place(one, kBegin)), ElementsAre(0));
  EXPECT_THAT(devices_of(policy.place(one, kBegin)), ElementsAre(2));
  PolicyShard other = shard_of(1000);
  other.kernel = "histogram";
  EXPECT_THAT(devices_of(policy.place(std::span(&other, 1), kBegin)), ElementsAre(0));
  EXPECT_EQ(policy.expected(0, one[0]), std::nullopt);
}

TEST(DevicePolicy, GoesToWhereAShardEndsFirst) {
  DevicePolicy policy(two_gpus_and_a_host(), {});
  teach(policy, {1, 2, 100});
  const std::vector<PolicyShard> six(6, shard_of(1000));
  const std::vector<std::size_t> devices = devices_of(policy.place(six, kBegin));
  EXPECT_EQ(std::count(devices.begin(), devices.end(), 0u), 4);
  EXPECT_EQ(std::count(devices.begin(), devices.end(), 1u), 2);
}

TEST(DevicePolicy, PrefersANearDeviceWhereTwoAreEqual) {
  DevicePolicy policy(two_gpus_and_a_host(), {});
  teach(policy, {1, 1, 100});
  const std::vector<PolicyShard> near_second = {shard_of(1000, kNode1)};
  EXPECT_THAT(devices_of(policy.place(near_second, kBegin)), ElementsAre(1));
  const std::vector<PolicyShard> near_first = {shard_of(1000, kNode0)};
  EXPECT_THAT(devices_of(policy.place(near_first, kBegin)), ElementsAre(0));
}

TEST(DevicePolicy, FollowsADeviceThatBecomesSlower) {
  DevicePolicy policy({two_gpus_and_a_host()[0]}, {});
  teach(policy, {1});
  for (int round = 0; round < 20; ++round) {
    const std::vector<PolicyShard> one = {shard_of(1000)};
    EXPECT_THAT(policy.place(one, kBegin), SizeIs(1));
    policy.ended(policy.next(0, kBegin).at(0), nanoseconds(5000));
  }
  EXPECT_GE(policy.expected(0, shard_of(1000)), nanoseconds(4900));
}

TEST(DevicePolicy, SplitsRunsOnTheHostOrRefusesWhatFitsNoDevice) {
  DevicePolicy policy(two_gpus_and_a_host(), {});
  PolicyShard large = shard_of(1_GiB);
  large.other_bytes = 1;
  EXPECT_THAT(devices_of(policy.place(std::span(&large, 1), kBegin)), ElementsAre(2));
  large.can_be_split = true;
  const PolicyChoice split = policy.place(std::span(&large, 1), kBegin)[0];
  EXPECT_EQ(split.verdict, PolicyVerdict::kSplit);
  EXPECT_THAT(split.reason, HasSubstr("needs 1.00 GiB; the largest device has 1.00 GiB"));

  DevicePolicy no_host({two_gpus_and_a_host()[0]}, {});
  large.can_be_split = false;
  large.other_bytes = 1_GiB;
  const PolicyChoice refused = no_host.place(std::span(&large, 1), kBegin)[0];
  EXPECT_EQ(refused.verdict, PolicyVerdict::kRefused);
  EXPECT_THAT(refused.reason, HasSubstr("needs 2.00 GiB; the largest device has 1.00 GiB"));
  EXPECT_THAT(no_host.retire(0), SizeIs(0));
  EXPECT_THAT(no_host.place(std::span(&large, 1), kBegin)[0].reason,
              HasSubstr("no device is left"));
  EXPECT_THAT(DevicePolicy({}, {}).place(std::span(&large, 1), kBegin)[0].reason,
              HasSubstr("no device is left"));
}

TEST(DevicePolicy, GivesSmallShardsOfOneKernelTogether) {
  DevicePolicy policy({two_gpus_and_a_host()[0]}, {.batch_bytes = 3500, .batch_count_max = 5});
  teach(policy, {1});
  std::vector<PolicyShard> shards(4, shard_of(1000));
  shards.push_back(shard_of(9000));
  shards.insert(shards.end(), 7, shard_of(10));
  shards.back().kernel = "histogram";
  ASSERT_THAT(devices_of(policy.place(shards, kBegin)), SizeIs(12));
  std::vector<std::size_t> sizes;
  std::set<std::uint64_t> seen;
  for (;;) {
    const std::vector<std::uint64_t> batch = policy.next(0, kBegin);
    if (batch.empty()) {
      break;
    }
    sizes.push_back(batch.size());
    seen.insert(batch.begin(), batch.end());
  }
  EXPECT_EQ(seen.size(), 12u);
  // The kernel that is tried, 3000 bytes, what then does not fit with the large one, that one, five
  // at most, and the rest.
  EXPECT_THAT(sizes, ElementsAre(1, 3, 1, 1, 5, 1));
}

TEST(DevicePolicy, StealsOnlyWhatEndsSooner) {
  DevicePolicy policy(two_gpus_and_a_host(), {.batch_bytes = 1});
  teach(policy, {1, 3, 100});
  const std::vector<PolicyShard> six(6, shard_of(1000));
  const std::vector<std::size_t> devices = devices_of(policy.place(six, kBegin));
  EXPECT_EQ(std::count(devices.begin(), devices.end(), 0u), 5);
  EXPECT_EQ(std::count(devices.begin(), devices.end(), 1u), 1);
  // The first device is slower than it was: at 3000 its first one still runs, and 4 wait.
  EXPECT_THAT(policy.next(0, kBegin), SizeIs(1));
  const std::uint64_t own = policy.next(1, kBegin).at(0);
  EXPECT_THAT(policy.next(2, kBegin), SizeIs(0));
  const Instant later = kBegin + nanoseconds(3000);
  policy.ended(own, nanoseconds(3000));
  // 4000 there against 3000 here; the next one would end at the same time, and stays.
  EXPECT_THAT(policy.next(2, later), SizeIs(0));
  const std::uint64_t stolen = policy.next(1, later).at(0);
  EXPECT_EQ(policy.steal_count(), 1u);
  policy.ended(stolen, nanoseconds(3000));
  EXPECT_THAT(policy.next(1, later), SizeIs(0));
  EXPECT_EQ(policy.steal_count(), 1u);
}

TEST(DevicePolicy, GivesBackWhatWaitedAtARetiredDevice) {
  DevicePolicy policy({two_gpus_and_a_host()[0], two_gpus_and_a_host()[1]}, {.batch_bytes = 1});
  teach(policy, {1, 1});
  const std::vector<PolicyShard> six(6, shard_of(1000));
  EXPECT_THAT(devices_of(policy.place(six, kBegin)), SizeIs(6));
  const std::uint64_t running = policy.next(0, kBegin).at(0);
  EXPECT_THAT(policy.retire(0), SizeIs(2));
  EXPECT_TRUE(policy.next(0, kBegin).empty());
  policy.dropped(running);
  const std::vector<PolicyShard> three(3, shard_of(1000));
  EXPECT_THAT(devices_of(policy.place(three, kBegin)), ElementsAre(1, 1, 1));
}

// When the last shard ends if each goes to where `devices` says.
std::uint64_t end_of(const std::vector<std::size_t>& devices,
                     const std::vector<std::vector<std::uint64_t>>& times) {
  std::map<std::size_t, std::uint64_t> loads;
  for (std::size_t shard = 0; shard < devices.size(); ++shard) {
    loads[devices[shard]] += times[shard][devices[shard]];
  }
  std::uint64_t end = 0;
  for (const auto& [device, load] : loads) {
    end = std::max(end, load);
  }
  return end;
}

// Of all schedules.
std::uint64_t best_end(const std::vector<std::vector<std::uint64_t>>& times,
                       std::vector<std::uint64_t>& loads, std::size_t shard, std::uint64_t best) {
  if (*std::max_element(loads.begin(), loads.end()) >= best) {
    return best;
  }
  if (shard == times.size()) {
    return *std::max_element(loads.begin(), loads.end());
  }
  for (std::size_t device = 0; device < loads.size(); ++device) {
    loads[device] += times[shard][device];
    best = best_end(times, loads, shard + 1, best);
    loads[device] -= times[shard][device];
  }
  return best;
}

// One schedule: devices run what they are given one after the other, and steal when they are idle.
std::uint64_t run(DevicePolicy& policy, const std::vector<PolicyChoice>& choices,
                  const std::vector<std::vector<std::uint64_t>>& times, std::size_t device_count) {
  std::map<std::uint64_t, std::size_t> shard_of_ticket;
  for (std::size_t shard = 0; shard < choices.size(); ++shard) {
    shard_of_ticket[choices[shard].ticket] = shard;
  }
  struct Running {
    std::uint64_t end = 0;
    std::uint64_t ticket = 0;
  };
  std::vector<std::optional<Running>> running(device_count);
  std::uint64_t now = 0;
  std::size_t done = 0;
  while (done < choices.size()) {
    for (std::size_t device = 0; device < device_count; ++device) {
      const std::vector<std::uint64_t> given = running[device]
                                                   ? std::vector<std::uint64_t>()
                                                   : policy.next(device, kBegin + nanoseconds(now));
      if (!given.empty()) {
        EXPECT_EQ(given.size(), 1u);
        running[device] = {now + times[shard_of_ticket.at(given[0])][device], given[0]};
      }
    }
    const auto first =
        std::min_element(running.begin(), running.end(),
                         [](const auto& a, const auto& b) { return a && (!b || a->end < b->end); });
    const auto device = static_cast<std::size_t>(first - running.begin());
    now = (*first)->end;
    policy.ended((*first)->ticket,
                 nanoseconds(times[shard_of_ticket.at((*first)->ticket)][device]));
    first->reset();
    ++done;
  }
  return now;
}

TEST(DevicePolicy, EndsWithinFivePercentOfTheBestScheduleThatSearchFinds) {
  std::mt19937 random(11);
  double worst = 1.0;
  double sum = 0.0;
  constexpr int kTrials = 400;
  for (int trial = 0; trial < kTrials; ++trial) {
    const std::size_t shard_count = 5 + random() % 6;
    std::vector<PolicyDevice> devices = two_gpus_and_a_host();
    const std::vector<std::uint64_t> rates = {1 + random() % 4, 1 + random() % 4,
                                              2 + random() % 30};
    DevicePolicy policy(devices, {.batch_bytes = 1});
    teach(policy, rates);
    std::vector<PolicyShard> shards;
    std::vector<std::vector<std::uint64_t>> times;
    for (std::size_t shard = 0; shard < shard_count; ++shard) {
      shards.push_back(shard_of(1000 + random() % 9000));
      times.emplace_back();
      for (const std::uint64_t rate : rates) {
        times.back().push_back(rate * shards.back().input_bytes);
      }
    }
    std::vector<std::uint64_t> loads(devices.size());
    const std::uint64_t best = best_end(times, loads, 0, ~std::uint64_t{0});
    const std::vector<PolicyChoice> choices = policy.place(shards, kBegin);
    const std::uint64_t planned = end_of(devices_of(choices), times);
    const std::uint64_t end = run(policy, choices, times, devices.size());
    EXPECT_LE(end, planned) << "trial " << trial;
    const double ratio = static_cast<double>(end) / static_cast<double>(best);
    EXPECT_LE(ratio, 1.05) << "trial " << trial;
    worst = std::max(worst, ratio);
    sum += ratio;
  }
  std::printf("ends at %.4f of the best in the mean, %.4f at worst\n", sum / kTrials, worst);
}

// No schedule of work that can be divided at will ends before all devices have been busy for the
// whole time.
TEST(DevicePolicy, EndsWithinFivePercentOfTheBoundForManyShards) {
  std::mt19937 random(5);
  for (const std::size_t shard_count : {60u, 200u, 1000u}) {
    const std::vector<std::uint64_t> rates = {1, 2, 9};
    DevicePolicy policy(two_gpus_and_a_host(), {.batch_bytes = 1});
    teach(policy, rates);
    std::vector<PolicyShard> shards;
    std::vector<std::vector<std::uint64_t>> times;
    double bytes = 0.0;
    for (std::size_t shard = 0; shard < shard_count; ++shard) {
      shards.push_back(shard_of(1000 + random() % 9000));
      bytes += static_cast<double>(shards.back().input_bytes);
      times.emplace_back();
      for (const std::uint64_t rate : rates) {
        times.back().push_back(rate * shards.back().input_bytes);
      }
    }
    const std::vector<PolicyChoice> choices = policy.place(shards, kBegin);
    const double bound = bytes / (1.0 + 1.0 / 2.0 + 1.0 / 9.0);
    EXPECT_LE(static_cast<double>(run(policy, choices, times, 3)), 1.05 * bound) << shard_count;
  }
}

}  // namespace
}  // namespace pinion
