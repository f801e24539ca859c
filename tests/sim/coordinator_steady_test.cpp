// In a steady state the coordinator allocates nothing for what ranks say of leases, but to remember
// what was made. The program's own operator new counts.

#include <pinion/shard/protocol/coordinator.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "core/allocation_counter.hpp"

namespace pinion::protocol {
namespace {

using namespace std::chrono_literals;
using testing_support::allocation_count;

constexpr std::uint32_t kRankCount = 16;
constexpr std::uint32_t kBatch = 16;
constexpr std::uint64_t kRoundCount = 10'000;
constexpr std::uint64_t kWarmUpCount = 1'000;
constexpr std::uint64_t kShardCount = 2 * (kRoundCount + kWarmUpCount) * kBatch;

struct Kind {
  const char* name;
  bool has_outputs = false;
  Duration shard_deadline = {};
};

/// A step in its map stage, and ranks that claim, extend and report its shards by turns. Each says
/// it in messages whose lists are those that it was given.
class Job {
 public:
  explicit Job(const Kind& kind) : has_outputs_(kind.has_outputs) {
    for (std::uint32_t rank = 0; rank < kRankCount; ++rank) {
      step(RankJoined{.rank = rank});
      send(rank, EnterStep{.step = 1});
    }
    PlanReady plan{.step = 1, .plan = {.job = 1, .generation = 1}};
    plan.shard_deadline = kind.shard_deadline;
    plan.shards.resize(kShardCount);
    for (std::uint64_t id = 0; id < kShardCount; ++id) {
      plan.shards[id] = {.weight = id * 7919 % 1000, .priority = static_cast<Priority>(id % 3)};
    }
    send(0, std::move(plan));
  }

  /// Claims, extends and reports a batch. Whether all of it went well.
  [[nodiscard]] bool run_round(std::uint32_t rank) {
    std::vector<Lease>& leases = leases_[rank];
    send(rank, Claim{.step = 1, .unit_count = kBatch});
    const Grant& grant = found<Grant>();
    if (grant.leases.size() != kBatch) {
      return false;
    }
    leases.assign(grant.leases.begin(), grant.leases.end());
    send(rank, Heartbeat{.step = 1, .held = std::move(leases)});
    if (!found<HeartbeatAck>().lost.empty()) {
      return false;
    }
    leases = std::move(received<Heartbeat>().held);
    const std::uint64_t report = ++report_counts_[rank];
    const std::uint64_t generation = has_outputs_ ? ++output_count_ + 1 : 0;
    send(rank, Report{.step = 1,
                      .report = report,
                      .output = {.job = generation > 0 ? 1U : 0U, .generation = generation},
                      .batch = std::move(leases)});
    leases = std::move(received<Report>().batch);
    return found<Verdict>().failure.code == ErrorCode::kOk;
  }

 private:
  template <class Body>
  void send(std::uint32_t rank, Body body) {
    auto& received = std::get<MessageReceived>(event_);
    received.envelope.rank = rank;
    received.message.template emplace<Body>(std::move(body));
    step(event_);
  }
  void step(const Event& event) {
    coordinator_.reuse(effects_);
    now_ += 1us;
    coordinator_.step(event, now_, effects_);
  }
  template <class Body>
  [[nodiscard]] Body& received() {
    return std::get<Body>(std::get<MessageReceived>(event_).message);
  }
  /// The message of this kind among the effects.
  template <class Body>
  [[nodiscard]] const Body& found() const {
    const auto is_sought = [](const Effect& effect) {
      const auto* send = std::get_if<Send>(&effect);
      return send != nullptr && std::holds_alternative<Body>(send->message);
    };
    return std::get<Body>(
        std::get<Send>(*std::find_if(effects_.begin(), effects_.end(), is_sought)).message);
  }

  bool has_outputs_;
  Coordinator coordinator_{{.job = 1, .rank_count = kRankCount}};
  Instant now_{1s};
  Event event_ =
      MessageReceived{.envelope = {.job = 1, .epoch = 1, .incarnation = 1}, .message = {}};
  Effects effects_;
  std::uint64_t output_count_ = 0;
  std::array<std::uint64_t, kRankCount> report_counts_ = {};
  std::array<std::vector<Lease>, kRankCount> leases_;
};

/// How often memory is allocated in so many rounds; nothing when one of them goes wrong.
std::uint64_t allocations_of(Job& job, std::uint64_t round_count) {
  const std::uint64_t before = allocation_count();
  for (std::uint64_t round = 0; round < round_count; ++round) {
    if (!job.run_round(static_cast<std::uint32_t>(round % kRankCount))) {
      ADD_FAILURE() << "in round " << round;
      return 0;
    }
  }
  return allocation_count() - before;
}

TEST(CoordinatorSteady, AllocatesNothingForClaimsHeartbeatsAndReports) {
  for (const Kind& kind :
       {Kind{.name = "plain"}, Kind{.name = "with a deadline", .shard_deadline = 3600s}}) {
    SCOPED_TRACE(kind.name);
    Job job(kind);
    EXPECT_GT(allocations_of(job, kWarmUpCount), 0U) << "the counter counts";
    EXPECT_EQ(allocations_of(job, kRoundCount), 0U);
  }
}

// Where reports have outputs, the list of these doubles whenever it is full, and nothing else is
// allocated.
TEST(CoordinatorSteady, AllocatesForPartialsOnlyTheirList) {
  Job job({.name = "with outputs", .has_outputs = true});
  static_cast<void>(allocations_of(job, kWarmUpCount));
  EXPECT_LE(allocations_of(job, kRoundCount), 4U);  // From 1000 partials to 11 000.
}

}  // namespace
}  // namespace pinion::protocol
