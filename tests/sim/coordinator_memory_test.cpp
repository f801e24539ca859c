// What a coordinator holds of steps that are over, by the bytes that the program has allocated: it
// is not asked.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shard/protocol/coordinator.hpp>

#include "dag/byte_counter.hpp"

namespace pinion::protocol {
namespace {

using namespace std::chrono_literals;
using testing_support::held_bytes;

constexpr std::uint32_t kRankCount = 500;
constexpr std::uint32_t kShardCount = 2000;

/// A job of many ranks, some of whose bodies fail, and some of whose ranks die with what they hold.
class Job {
 public:
  explicit Job(const CoordinatorMutations& mutations)
      : coordinator_({.rank_count = kRankCount,
                      .death_count_max = 1000,
                      .first_retry_delay_max = {},
                      .mutations = mutations}),
        incarnations_(kRankCount) {
    for (std::uint32_t rank = 0; rank < kRankCount; ++rank) {
      begin_life(rank);
    }
  }

  void run_step() {
    ++step_;
    is_over_ = false;
    for (std::uint32_t rank = 0; rank < kRankCount; ++rank) {
      enter(rank);
    }
    tell(0, PlanReady{.step = step_,
                      .plan = another_blob(),
                      .partition_count = 2,
                      .shards = std::vector<ShardEntry>(kShardCount, {.weight = 1})});
    for (std::uint32_t rank = 0; rank < kRankCount; ++rank) {
      claim(rank);
    }
    for (std::uint64_t turn = 1; !is_over_ && !grants_.empty(); ++turn) {
      const auto [rank, grant] = std::exchange(grants_.front(), {});
      grants_.pop_front();
      if (turn % 50 == 0) {
        die(rank);
      } else if (turn % 20 == 0 && grant.leases.front().attempt == 1) {
        tell(rank, BatchFailed{.step = step_,
                               .stage = grant.stage,
                               .bad_unit = grant.leases.front().unit,
                               .failure = {.code = ErrorCode::kUnknown, .text = "no"},
                               .batch = grant.leases});
      } else {
        report(rank, grant);
      }
      claim(rank);
    }
    ASSERT_TRUE(is_over_);
    grants_ = {};
    effects_ = Effects();
  }

 private:
  void begin_life(std::uint32_t rank) {
    happen(RankJoined{.rank = rank, .incarnation = ++incarnations_[rank]});
  }
  void enter(std::uint32_t rank) {
    tell(rank, EnterStep{.step = step_, .fingerprint = 1, .description = "a step"});
  }
  void claim(std::uint32_t rank) { tell(rank, Claim{.step = step_, .unit_count = 2}); }
  void die(std::uint32_t rank) {
    happen(RankLost{.rank = rank, .incarnation = incarnations_[rank], .returns = true});
    begin_life(rank);
    enter(rank);
  }
  void report(std::uint32_t rank, const Grant& grant) {
    for (const Lease& lease : grant.leases) {
      tell(rank, Report{.step = step_,
                        .stage = grant.stage,
                        .report = ++report_count_,
                        .output = another_blob(),
                        .digest = 1,
                        .batch = {lease}});
    }
  }

  void tell(std::uint32_t rank, Message message) {
    happen(MessageReceived{
        .envelope = {.job = 0, .epoch = 1, .rank = rank, .incarnation = incarnations_[rank]},
        .message = std::move(message)});
  }
  void happen(const Event& event) {
    coordinator_.step(event, now_ += 1us, effects_);
    for (Effect& effect : effects_) {
      auto* const send = std::get_if<Send>(&effect);
      if (send == nullptr) {
        continue;
      }
      is_over_ = is_over_ || std::holds_alternative<StepDone>(send->message);
      if (auto* const grant = std::get_if<Grant>(&send->message); grant && !grant->leases.empty()) {
        grants_.emplace_back(send->rank, std::move(*grant));
      }
    }
    effects_.clear();
  }
  BlobHandle another_blob() { return {.generation = ++blob_count_, .length_bytes = 64}; }

  Coordinator coordinator_;
  std::vector<std::uint32_t> incarnations_;
  Instant now_{1s};
  Effects effects_;
  std::deque<std::pair<std::uint32_t, Grant>> grants_;
  std::uint64_t step_ = 0;
  std::uint64_t report_count_ = 0;
  std::uint64_t blob_count_ = 0;
  bool is_over_ = false;
};

/// What each step leaves behind, once there were some.
std::ptrdiff_t bytes_left_by_a_step(const CoordinatorMutations& mutations) {
  constexpr std::ptrdiff_t kStepCount = 10;
  Job job(mutations);
  const auto run_steps = [&job] {
    for (std::ptrdiff_t step = 0; step < kStepCount; ++step) {
      job.run_step();
    }
    return static_cast<std::ptrdiff_t>(held_bytes());
  };
  const std::ptrdiff_t before = run_steps();
  return (run_steps() - before) / kStepCount;
}

TEST(CoordinatorMemory, OfAStepThatIsOverIsThatOfItsResultsWhateverItWasMadeOf) {
  EXPECT_LT(bytes_left_by_a_step({}), 10'000);
  EXPECT_GT(bytes_left_by_a_step({.keep_ended_steps = true}), 100'000) << "nothing was counted";
}

}  // namespace
}  // namespace pinion::protocol
