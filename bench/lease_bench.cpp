// What the coordinator takes for a shard's way through it: claimed, granted, extended by one
// heartbeat, reported and accepted. In memory, as messages that are made and read, not encoded.
//
// To expect, at 3 GHz: the record of a lease is one line of the cache, which each of the three
// touches, with a neighbour or two: some 10 ns each where they are in the cache, so 30 ns a shard,
// and 50 ns for each of the six messages, which a batch of 16 divides by 16. So 20 million shards a
// second in batches, and 3 million one by one. Positions follow each other in the order of grants,
// so how many shards wait changes nothing that a shard costs but what its line of 16 bytes takes to
// come from memory.
//
// 64 ranks of 8 hosts with 2 places each; shards of all weights and priorities prefer one of the
// places. The clock stands still but for a microsecond a message.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <benchmark/benchmark.h>

#include <pinion/core/clock.hpp>
#include <pinion/shard/protocol/coordinator.hpp>

#include "protocol/lease_table.hpp"

namespace pinion::protocol {
namespace {

constexpr std::uint32_t kRankCount = 64;
constexpr std::uint32_t kRanksPerPlace = 4;
constexpr std::uint16_t kPlacesPerHost = 2;

/// Shards that are measured in one go; few enough for the queue to be as long at the end.
constexpr std::uint64_t kUnitCountMax = 1u << 20;

Place place_of(std::uint32_t number) {
  return {.index = static_cast<std::uint16_t>(number % kPlacesPerHost),
          .host = number / kPlacesPerHost};
}

std::uint64_t scrambled(std::uint64_t number) {
  number = (number ^ (number >> 31U)) * 0x9e3779b97f4a7c15U;
  return number ^ (number >> 29U);
}

ShardEntry shard_of(std::uint64_t id) {
  const std::uint64_t random = scrambled(id + 1);
  return {
      .weight = random % 1000,
      .place = place_of(static_cast<std::uint32_t>(random >> 20U) % (kRankCount / kRanksPerPlace)),
      .priority = static_cast<Priority>((random >> 40U) % 3)};
}

/// Leaves enough for every rank to get what it asks for.
std::uint64_t measured_count(std::uint64_t queued_count) {
  return std::min(kUnitCountMax, queued_count / 2);
}

/// A job whose step is planned, and what a driver keeps.
class Job {
 public:
  explicit Job(std::uint64_t shard_count) : coordinator_({.job = 1, .rank_count = kRankCount}) {
    for (std::uint32_t rank = 0; rank < kRankCount; ++rank) {
      step(RankJoined{.rank = rank});
      send(rank, Register{.protocol_version = 1,
                          .capacities = {.cpu_count = 1},
                          .places = {place_of(rank / kRanksPerPlace)}});
      send(rank, EnterStep{.step = 1});
    }
    PlanReady plan{.step = 1, .plan = {.job = 1}};
    plan.shards.reserve(shard_count);
    for (std::uint64_t id = 0; id < shard_count; ++id) {
      plan.shards.push_back(shard_of(id));
    }
    send(0, std::move(plan));
    // The list of all shards goes now, not in what is measured.
    std::get<MessageReceived>(event_).message.emplace<Claim>();
  }

  /// How many shards were accepted.
  std::uint64_t claim_extend_report(std::uint32_t rank, std::uint32_t unit_count) {
    send(rank, Claim{.step = 1, .unit_count = unit_count});
    std::vector<Lease> leases = std::move(found<Grant>().leases);
    const std::uint64_t count = leases.size();
    send(rank, Heartbeat{.step = 1, .held = std::move(leases)});
    leases = std::move(
        std::get<Heartbeat>(std::get<MessageReceived>(event_).message).held);  // Used again.
    benchmark::DoNotOptimize(found<HeartbeatAck>().lost.size());
    send(rank, Report{.step = 1, .report = ++report_counts_[rank], .batch = std::move(leases)});
    return found<Verdict>().failure.code == ErrorCode::kOk ? count : 0;
  }

 private:
  void step(const Event& event) {
    effects_.clear();
    now_ += std::chrono::microseconds(1);
    coordinator_.step(event, now_, effects_);
  }
  template <class Body>
  void send(std::uint32_t rank, Body body) {
    auto& received = std::get<MessageReceived>(event_);
    received.envelope.rank = rank;
    received.message.template emplace<Body>(std::move(body));
    step(event_);
  }
  template <class Body>
  Body& found() {
    return std::get<Body>(std::get<Send>(effects_.front()).message);
  }

  Coordinator coordinator_;
  Instant now_{std::chrono::seconds(1)};
  Event event_ =
      MessageReceived{.envelope = {.job = 1, .epoch = 1, .incarnation = 1}, .message = {}};
  Effects effects_;
  std::array<std::uint64_t, kRankCount> report_counts_ = {};  // Each rank numbers its own.
};

void claim_extend_report(benchmark::State& state) {
  const auto queued_count = static_cast<std::uint64_t>(state.range(0));
  const auto batch_size = static_cast<std::uint32_t>(state.range(1));
  const std::uint64_t wanted = measured_count(queued_count);
  const SystemClock clock;
  std::int64_t total = 0;
  for (auto _ : state) {
    Job job(queued_count);
    std::uint64_t count = 0;
    const Instant begin = clock.now();
    for (std::uint32_t rank = 0; count < wanted; rank = (rank + 1) % kRankCount) {
      const std::uint64_t accepted = job.claim_extend_report(rank, batch_size);
      if (accepted == 0) {
        state.SkipWithError("a batch was refused");
        return;
      }
      count += accepted;
    }
    state.SetIterationTime(std::chrono::duration<double>(clock.now() - begin).count());
    total += static_cast<std::int64_t>(count);
  }
  state.SetItemsProcessed(total);
}
BENCHMARK(claim_extend_report)
    ->ArgNames({"queued", "batch"})
    ->ArgsProduct({{10'000, 1'000'000, 10'000'000}, {16, 1}})
    ->UseManualTime();

/// The table alone: what of the above is not messages.
void grant_extend_accept(benchmark::State& state) {
  const auto queued_count = static_cast<std::uint64_t>(state.range(0));
  const auto batch_size = static_cast<std::uint64_t>(state.range(1));
  std::vector<UnitTraits> units;
  for (std::uint64_t id = 0; id < queued_count; ++id) {
    const ShardEntry shard = shard_of(id);
    units.push_back({.weight = shard.weight, .place = shard.place, .priority = shard.priority});
  }
  const std::uint64_t wanted = measured_count(queued_count);
  const SystemClock clock;
  std::int64_t total = 0;
  std::vector<Lease> leases;
  double bytes = 0;
  for (auto _ : state) {
    LeaseTable table(units, kRankCount);
    for (std::uint32_t rank = 0; rank < kRankCount; ++rank) {
      const Place place = place_of(rank / kRanksPerPlace);
      table.set_places(rank, {&place, 1});
    }
    bytes = static_cast<double>(table.queue_memory_bytes()) / static_cast<double>(queued_count);
    FenceSource fences{.epoch = 1};
    Instant now{std::chrono::seconds(1)};
    const Instant begin = clock.now();
    for (std::uint32_t rank = 0; table.accepted_count() < wanted; rank = (rank + 1) % kRankCount) {
      const Holder holder{.rank = rank, .incarnation = 1};
      now += std::chrono::microseconds(3);
      leases.clear();
      table.grant(holder, {.unit_count_max = batch_size, .now = now, .expires = now}, fences,
                  leases);
      for (const Lease& lease : leases) {
        table.extend(table.find(lease, holder), now);
      }
      for (const Lease& lease : leases) {
        table.accept(table.find(lease, holder), now);
      }
    }
    state.SetIterationTime(std::chrono::duration<double>(clock.now() - begin).count());
    total += static_cast<std::int64_t>(table.accepted_count());
  }
  state.SetItemsProcessed(total);
  state.counters["bytes_per_shard"] = bytes;
}
BENCHMARK(grant_extend_accept)
    ->ArgNames({"queued", "batch"})
    ->ArgsProduct({{10'000, 10'000'000}, {16, 1}})
    ->UseManualTime();

}  // namespace
}  // namespace pinion::protocol
