#include <pinion/shard/step.hpp>

#include <atomic>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/protocol/wire.hpp>
#include <pinion/shard/sum_vector.hpp>
#include <pinion/shm/local_blob_store.hpp>

#include "engine/step_board.hpp"
#include "shard/engine/fake_job.hpp"

namespace pinion {
namespace {

using engine::Next;
using engine::NextStep;
using engine::StepBoard;
using protocol::Lease;
using protocol::Stage;
using testing::ElementsAre;
using testing::HasSubstr;

Lease lease_of(std::uint64_t unit, std::uint32_t attempt = 1) {
  return {.unit = unit, .fence = {.epoch = 1, .counter = 100 + unit}, .attempt = attempt};
}

// A rank whose coordinator is the test: what the rank sends is looked at, and answered, right
// there.
class ScriptedRank {
 public:
  using OnMessage = std::function<void(const protocol::Message&)>;

  explicit ScriptedRank(OnMessage on_message)
      : store_(make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, 1u << 24)),
        on_message_(std::move(on_message)),
        rank_({.batch_shard_count = 4}, 0, *store_, [this](std::span<const std::byte> bytes) {
          on_message_(protocol::decode(bytes).value().message);
          return Status();
        }) {}

  [[nodiscard]] IJobContext& job() { return rank_; }
  void tell(const protocol::Message& message, std::uint32_t incarnation = 1) {
    rank_.control().deliver(
        protocol::encode({.job = 1, .epoch = 1, .rank = 0, .incarnation = incarnation}, message));
  }
  void tell_bytes(std::vector<std::byte> bytes) { rank_.control().deliver(std::move(bytes)); }

 private:
  std::unique_ptr<LocalBlobStore> store_;
  OnMessage on_message_;
  test::FakeRank rank_;
};

class StepBoardTest : public testing::Test {
 protected:
  test::FakeLink link_{[](std::span<const std::byte>) { return Status(); }};
  StepBoard board_{link_};

  static constexpr Instant kNever = Instant::max();
};

TEST_F(StepBoardTest, GivesUnitsInTheOrderInWhichTheyCame) {
  board_.add_units(Stage::kMap, std::vector<Lease>{lease_of(4), lease_of(2)}, 0);
  EXPECT_EQ(board_.next({}, kNever).lease.unit, 4u);
  EXPECT_EQ(board_.next({}, kNever).lease.unit, 2u);
}

TEST_F(StepBoardTest, HasAnOpenBatchSealedWhenNoMoreUnitsWillCome) {
  const std::vector<Lease> batch = {lease_of(1)};
  board_.add_units(Stage::kMap, std::vector<Lease>{lease_of(2)}, 0);
  EXPECT_EQ(board_.next(batch, kNever).step, NextStep::kRunUnit);
  EXPECT_EQ(board_.next(batch, kNever).step, NextStep::kSealBatch);
}

TEST_F(StepBoardTest, HasAnOpenBatchSealedThatWaitsTooLong) {
  const std::vector<Lease> batch = {lease_of(1)};
  board_.add_units(Stage::kMap, {}, 10);
  EXPECT_EQ(board_.next(batch, kNever).step, NextStep::kSealBatch);
}

TEST_F(StepBoardTest, HasAnOpenBatchDroppedThatHoldsALostLease) {
  const std::vector<Lease> batch = {lease_of(1), lease_of(2)};
  board_.add_units(Stage::kMap, std::vector<Lease>{lease_of(3), lease_of(4)}, 0);
  board_.drop(Stage::kMap, std::vector<Lease>{lease_of(2), lease_of(3)});
  EXPECT_EQ(board_.next(batch, kNever).step, NextStep::kDropBatch);
  EXPECT_THAT(board_.still_ours(batch), ElementsAre(lease_of(1)));
  const Next next = board_.next({}, kNever);
  EXPECT_EQ(next.step, NextStep::kRunUnit);
  EXPECT_EQ(next.lease, lease_of(4)) << "the lost lease was still waiting";
}

TEST_F(StepBoardTest, TakesAUnitAgainThatIsGrantedAgain) {
  board_.drop(Stage::kMap, std::vector<Lease>{lease_of(1)});
  Lease again = lease_of(1);
  again.fence.counter += 50;
  board_.add_units(Stage::kMap, std::vector<Lease>{again}, 0);
  EXPECT_EQ(board_.next({}, kNever).lease, again);
}

TEST_F(StepBoardTest, SaysHowLongUnitsTakeInThisStage) {
  board_.add_units(Stage::kMap, std::vector<Lease>{lease_of(1), lease_of(2), lease_of(3)}, 0);
  EXPECT_EQ(board_.unit_duration(), Duration::zero());
  static_cast<void>(board_.next({}, kNever));
  static_cast<void>(board_.next({}, kNever, std::chrono::milliseconds(80)));
  EXPECT_EQ(board_.unit_duration(), std::chrono::milliseconds(80));
  static_cast<void>(board_.next({}, kNever, std::chrono::milliseconds(160)));
  EXPECT_EQ(board_.unit_duration(), std::chrono::milliseconds(90));
  board_.add_units(Stage::kMerge, std::vector<Lease>{lease_of(0)}, 0);
  EXPECT_EQ(board_.unit_duration(), Duration::zero());
}

TEST_F(StepBoardTest, WakesTheProgramWhenFewUnitsAreLeft) {
  board_.add_units(Stage::kMap, std::vector<Lease>{lease_of(1), lease_of(2), lease_of(3)}, 0);
  EXPECT_EQ(board_.unfinished_count(1), 3U);
  static_cast<void>(board_.next({}, kNever));
  static_cast<void>(board_.next({}, kNever, std::chrono::milliseconds(1)));
  EXPECT_FALSE(link_.take_wake());
  EXPECT_EQ(board_.unfinished_count(1), 2U);
  static_cast<void>(board_.next({}, kNever, std::chrono::milliseconds(1)));
  EXPECT_TRUE(link_.take_wake());
  EXPECT_EQ(board_.unfinished_count(1), 1U);
}

TEST_F(StepBoardTest, EndsTheLoopsBeforeWaitingUnits) {
  board_.add_units(Stage::kMap, std::vector<Lease>{lease_of(1)}, 0);
  board_.end();
  EXPECT_EQ(board_.next({}, kNever).step, NextStep::kEnd);
}

// Shards 0 and 1 share a batch, whose second lease is lost while its body runs: nothing of the
// batch is reported and shard 0 goes back.
TEST(StepRunner, DropsABatchThatLostALeaseAndGivesBackTheOthers) {
  std::latch started(1);
  std::latch told(1);
  std::atomic<int> claims = 0;
  std::vector<Lease> given_back;
  std::vector<Lease> reported;
  std::unique_ptr<ScriptedRank> rank;
  const auto grant = [&rank](std::vector<Lease> leases) {
    rank->tell(protocol::Grant{.step = 1,
                               .stage = Stage::kMap,
                               .unit_count_left = 5,
                               .lease_duration = std::chrono::hours(1),
                               .leases = std::move(leases)});
  };
  rank = std::make_unique<ScriptedRank>([&](const protocol::Message& message) {
    if (std::holds_alternative<protocol::EnterStep>(message)) {
      rank->tell(protocol::MakePlan{.step = 1});
    } else if (const auto* plan = std::get_if<protocol::PlanReady>(&message)) {
      rank->tell(protocol::StepStarted{.step = 1,
                                       .plan = plan->plan,
                                       .shard_count = plan->shards.size(),
                                       .partition_count = plan->partition_count,
                                       .lease_duration = std::chrono::hours(1)});
    } else if (std::holds_alternative<protocol::Claim>(message)) {
      switch (++claims) {
        case 1:
          grant({lease_of(0), lease_of(1)});
          break;
        case 2:
          started.wait();
          rank->tell(protocol::HeartbeatAck{.step = 1, .sent_ns = 0, .lost = {lease_of(1)}});
          grant({lease_of(2)});
          break;
        case 3:
          // The rank claims again after it took the grant, so it has heard of the loss too.
          told.count_down();
          break;
      }
    } else if (const auto* back = std::get_if<protocol::GiveBack>(&message)) {
      given_back.insert(given_back.end(), back->leases.begin(), back->leases.end());
    } else if (const auto* report = std::get_if<protocol::Report>(&message)) {
      reported.insert(reported.end(), report->batch.begin(), report->batch.end());
      rank->tell(protocol::StepFailed{
          .step = 1, .failure = {.code = ErrorCode::kCancelled, .text = "the script is over"}});
    }
  });
  const auto sums = map_reduce(
      rank->job(), indices(8), by_index_range(1),
      [&started, &told](const Shard& shard, auto& emit) {
        emit(0, 1);
        if (shard.id() == 1) {
          started.count_down();
          told.wait();
        }
      },
      sum_vector<std::uint64_t>(1));
  EXPECT_EQ(sums.error().code(), ErrorCode::kCancelled);
  EXPECT_THAT(given_back, ElementsAre(lease_of(0)));
  EXPECT_THAT(reported, ElementsAre(lease_of(2)));
}

// A shard that failed before is reported alone, although its neighbours are there.
TEST(StepRunner, RunsAShardThatFailedBeforeInABatchOfItsOwn) {
  std::vector<std::vector<std::uint64_t>> batches;
  std::unique_ptr<ScriptedRank> rank;
  std::size_t unit_count = 0;
  rank = std::make_unique<ScriptedRank>([&](const protocol::Message& message) {
    if (std::holds_alternative<protocol::EnterStep>(message)) {
      rank->tell(protocol::MakePlan{.step = 1});
    } else if (const auto* plan = std::get_if<protocol::PlanReady>(&message)) {
      rank->tell(protocol::StepStarted{.step = 1,
                                       .plan = plan->plan,
                                       .shard_count = plan->shards.size(),
                                       .partition_count = plan->partition_count,
                                       .lease_duration = std::chrono::hours(1)});
    } else if (std::holds_alternative<protocol::Claim>(message) && batches.empty()) {
      rank->tell(protocol::Grant{
          .step = 1,
          .stage = Stage::kMap,
          .unit_count_left = 0,
          .lease_duration = std::chrono::hours(1),
          .leases = {lease_of(0), lease_of(1), lease_of(2, 2), lease_of(3), lease_of(4)}});
    } else if (const auto* report = std::get_if<protocol::Report>(&message)) {
      auto& batch = batches.emplace_back();
      for (const Lease& lease : report->batch) {
        batch.push_back(lease.unit);
        ++unit_count;
      }
      if (unit_count == 5) {
        rank->tell(protocol::StepFailed{
            .step = 1, .failure = {.code = ErrorCode::kCancelled, .text = "the script is over"}});
      }
    }
  });
  const Status status =
      for_each_shard(rank->job(), indices(5), by_index_range(1), [](const Shard&) {});
  EXPECT_EQ(status.code(), ErrorCode::kCancelled);
  EXPECT_THAT(batches, ElementsAre(ElementsAre(0, 1), ElementsAre(2), ElementsAre(3, 4)));
}

// The lease of shards 0 to 3 is lost while shard 0 runs: the others are in vain.
TEST(StepRunner, LeavesABatchOfAnOrderedStepBetweenShardsWhenItsLeaseIsLost) {
  std::latch told(1);
  std::atomic<int> claims = 0;
  std::vector<std::uint64_t> bodies;
  std::vector<Lease> reported;
  std::unique_ptr<ScriptedRank> rank;
  const auto grant = [&rank](const Lease& lease) {
    rank->tell(protocol::Grant{.step = 1,
                               .stage = Stage::kMap,
                               .unit_count_left = 5,
                               .lease_duration = std::chrono::hours(1),
                               .leases = {lease}});
  };
  rank = std::make_unique<ScriptedRank>([&](const protocol::Message& message) {
    if (std::holds_alternative<protocol::EnterStep>(message)) {
      rank->tell(protocol::MakePlan{.step = 1});
    } else if (const auto* plan = std::get_if<protocol::PlanReady>(&message)) {
      rank->tell(
          protocol::StepStarted{.step = 1,
                                .plan = plan->plan,
                                .shard_count = plan->shards.size(),
                                .partition_count = plan->partition_count,
                                .lease_duration = std::chrono::hours(1),
                                .ordered_batch_shard_count = plan->ordered_batch_shard_count});
    } else if (std::holds_alternative<protocol::Claim>(message)) {
      if (++claims == 1) {
        grant(lease_of(0));
      } else if (claims == 2) {
        // The rank holds nothing, so it has heard of the loss.
        told.count_down();
        grant(lease_of(1));
      }
    } else if (const auto* report = std::get_if<protocol::Report>(&message)) {
      reported.insert(reported.end(), report->batch.begin(), report->batch.end());
      rank->tell(protocol::StepFailed{
          .step = 1, .failure = {.code = ErrorCode::kCancelled, .text = "the script is over"}});
    }
  });
  const Status status = for_each_shard(
      rank->job(), indices(8), by_index_range(1).ordered(4), [&](const Shard& shard) {
        bodies.push_back(shard.id());
        if (shard.id() == 0) {
          rank->tell(protocol::HeartbeatAck{.step = 1, .sent_ns = 0, .lost = {lease_of(0)}});
          told.wait();
        }
      });
  EXPECT_EQ(status.code(), ErrorCode::kCancelled);
  EXPECT_THAT(bodies, ElementsAre(0, 4, 5, 6, 7));
  EXPECT_THAT(reported, ElementsAre(lease_of(1)));
}

protocol::StepStarted started_with(const protocol::PlanReady& plan) {
  return {.step = 1,
          .plan = plan.plan,
          .shard_count = plan.shards.size(),
          .partition_count = plan.partition_count,
          .lease_duration = std::chrono::hours(1)};
}

protocol::Grant grant_of(Stage stage, const Lease& lease) {
  return {.step = 1, .stage = stage, .lease_duration = std::chrono::hours(1), .leases = {lease}};
}

protocol::StepFailed end_of_script() {
  return {.step = 1, .failure = {.code = ErrorCode::kCancelled, .text = "the script is over"}};
}

// The host of the plan was lost before the rank could open it.
TEST(StepRunner, OpensAnotherBlobOfThePlanWhereTheFirstCouldNotBeOpened) {
  std::optional<protocol::PlanReady> plan;
  std::vector<ErrorCode> failures;
  std::vector<std::uint32_t> reported_attempts;
  std::unique_ptr<ScriptedRank> rank;
  rank = std::make_unique<ScriptedRank>([&](const protocol::Message& message) {
    if (std::holds_alternative<protocol::EnterStep>(message)) {
      rank->tell(protocol::MakePlan{.step = 1});
    } else if (const auto* ready = std::get_if<protocol::PlanReady>(&message)) {
      plan = *ready;
      protocol::PlanReady lost = *ready;
      lost.plan.index += 1000;
      rank->tell(started_with(lost));
      rank->tell(grant_of(Stage::kMap, lease_of(0)));
    } else if (const auto* failed = std::get_if<protocol::BatchFailed>(&message)) {
      failures.push_back(failed->failure.code);
      rank->tell(started_with(*plan));
      Lease again = lease_of(0, 2);
      ++again.fence.counter;
      rank->tell(grant_of(Stage::kMap, again));
    } else if (const auto* report = std::get_if<protocol::Report>(&message)) {
      reported_attempts.push_back(report->batch.front().attempt);
      rank->tell(end_of_script());
    }
  });
  const Status status =
      for_each_shard(rank->job(), indices(1), by_index_range(1), [](const Shard&) {});
  EXPECT_EQ(status.code(), ErrorCode::kCancelled) << status.to_string();
  EXPECT_THAT(failures, ElementsAre(ErrorCode::kNotFound));
  EXPECT_THAT(reported_attempts, ElementsAre(2));
}

TEST(StepRunner, SealsThePlanAgainThatItHasWhenThatIsLost) {
  std::vector<protocol::PlanReady> plans;
  std::uint64_t weighed = 0;
  std::uint64_t weighed_at_first = 0;
  std::unique_ptr<ScriptedRank> rank;
  rank = std::make_unique<ScriptedRank>([&](const protocol::Message& message) {
    if (std::holds_alternative<protocol::EnterStep>(message)) {
      rank->tell(protocol::MakePlan{.step = 1});
    } else if (const auto* ready = std::get_if<protocol::PlanReady>(&message)) {
      plans.push_back(*ready);
      if (plans.size() == 1) {
        weighed_at_first = weighed;
        rank->tell(started_with(*ready));
        rank->tell(protocol::MakePlan{.step = 1});
      } else {
        rank->tell(end_of_script());
      }
    }
  });
  const auto weigh = [&weighed](std::uint64_t) { return ++weighed, std::uint64_t{1}; };
  const Status status =
      for_each_shard(rank->job(), indices(8), by_weight(IndexWeight(weigh)), [](const Shard&) {});
  EXPECT_EQ(status.code(), ErrorCode::kCancelled) << status.to_string();
  ASSERT_EQ(plans.size(), 2u);
  EXPECT_NE(plans[0].plan, plans[1].plan);
  plans[0].plan = plans[1].plan;
  EXPECT_EQ(plans[0], plans[1]);
  EXPECT_EQ(weighed, weighed_at_first) << "the planner was asked once";
}

TEST(StepRunner, MapsAgainAfterItHasMergedWhenAPartialIsLost) {
  std::vector<std::pair<Stage, std::uint64_t>> reported;
  std::unique_ptr<ScriptedRank> rank;
  rank = std::make_unique<ScriptedRank>([&](const protocol::Message& message) {
    if (std::holds_alternative<protocol::EnterStep>(message)) {
      rank->tell(protocol::MakePlan{.step = 1});
    } else if (const auto* ready = std::get_if<protocol::PlanReady>(&message)) {
      rank->tell(started_with(*ready));
      rank->tell(grant_of(Stage::kMap, lease_of(0)));
    } else if (const auto* report = std::get_if<protocol::Report>(&message)) {
      reported.emplace_back(report->stage, report->batch.front().unit);
      if (reported.size() == 1 || reported.size() == 3) {
        rank->tell(protocol::MergeInputs{.step = 1, .partials = {report->output}});
        Lease merge = lease_of(0);
        merge.fence.counter += reported.size();
        rank->tell(grant_of(Stage::kMerge, merge));
      } else if (reported.size() == 2) {
        Lease map = lease_of(1);
        map.fence.counter += 1;
        rank->tell(grant_of(Stage::kMap, map));
      } else {
        rank->tell(end_of_script());
      }
    }
  });
  const auto sums = map_reduce(
      rank->job(), indices(2), by_index_range(1), [](const Shard&, auto& emit) { emit(0, 1); },
      sum_vector<std::uint64_t>(1));
  EXPECT_EQ(sums.error().code(), ErrorCode::kCancelled) << sums.error().to_string();
  EXPECT_THAT(reported, ElementsAre(std::pair(Stage::kMap, 0), std::pair(Stage::kMerge, 0),
                                    std::pair(Stage::kMap, 1), std::pair(Stage::kMerge, 0)));
}

TEST(StepRunner, CombinesPartialsAndMergesWhatCameOfThemInTheirPlace) {
  std::vector<std::pair<Stage, std::uint64_t>> reported;
  std::vector<BlobHandle> outputs;
  bool combines = false;
  std::unique_ptr<ScriptedRank> rank;
  const auto grant = [&rank, &reported](Stage stage, std::uint64_t unit) {
    Lease lease = lease_of(unit);
    lease.fence.counter += 10 * reported.size();
    rank->tell(grant_of(stage, lease));
  };
  rank = std::make_unique<ScriptedRank>([&](const protocol::Message& message) {
    if (std::holds_alternative<protocol::EnterStep>(message)) {
      rank->tell(protocol::MakePlan{.step = 1});
    } else if (const auto* ready = std::get_if<protocol::PlanReady>(&message)) {
      combines = ready->combines;
      rank->tell(started_with(*ready));
      grant(Stage::kMap, 0);
    } else if (const auto* report = std::get_if<protocol::Report>(&message)) {
      reported.emplace_back(report->stage, report->batch.front().unit);
      outputs.push_back(report->output);
      protocol::MergeInputs inputs{.step = 1, .partials = {outputs.front(), outputs.back()}};
      if (reported.size() == 1) {
        grant(Stage::kMap, 1);
      } else if (reported.size() == 2) {
        rank->tell(inputs);
        grant(Stage::kCombine, 5);  // Of a host behind others.
      } else if (reported.size() == 3) {
        inputs.partials = {outputs[0], outputs[1]};
        inputs.combined = {{.members = {0, 1}, .outputs = {report->output}}};
        rank->tell(inputs);
        grant(Stage::kMerge, 0);
      } else {
        rank->tell(protocol::StepDone{.step = 1, .partitions = {report->output}, .shard_count = 2});
      }
    }
  });
  const auto sums = map_reduce(
      rank->job(), indices(2), by_index_range(1),
      [](const Shard& shard, auto& emit) { emit(0, shard.id() + 1); },
      sum_vector<std::uint64_t>(1));
  ASSERT_TRUE(sums) << sums.error().to_string();
  EXPECT_THAT(sums->values(), ElementsAre(3));
  EXPECT_TRUE(combines);
  EXPECT_THAT(reported, ElementsAre(std::pair(Stage::kMap, 0), std::pair(Stage::kMap, 1),
                                    std::pair(Stage::kCombine, 5), std::pair(Stage::kMerge, 0)));
}

// The store of a host from which the blobs of another cannot be had.
class StoreOfOneHost final : public IBlobStore {
 public:
  using OnFarBlob = std::function<Status()>;

  explicit StoreOfOneHost(OnFarBlob on_far_blob) : on_far_blob_(std::move(on_far_blob)) {}

  [[nodiscard]] Result<BlobWriter> create(std::uint64_t size_bytes, Place place) override {
    return store_->create(size_bytes, place);
  }
  [[nodiscard]] Result<Blob> open(const BlobHandle& handle) override {
    return handle.host == 0 ? store_->open(handle) : on_far_blob_();
  }
  [[nodiscard]] BlobStoreUsage usage() const override { return store_->usage(); }

 private:
  std::unique_ptr<LocalBlobStore> store_ =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, 1u << 24);
  OnFarBlob on_far_blob_;
};

// How a step ends whose result lies on host 1, where opening it ends in `error`; the rank's agent
// may be gone then, too.
Status end_of_step_with_far_result(const Status& error, const Status& agent = {}) {
  std::unique_ptr<test::FakeRank> rank;
  StoreOfOneHost store([&] {
    if (!agent.ok()) {
      rank->control().break_with(agent);
    }
    return error;
  });
  rank = std::make_unique<test::FakeRank>(
      test::FakeJobOptions{}, 0, store, [&rank](std::span<const std::byte>) {
        rank->control().deliver(protocol::encode(
            {.job = 1, .epoch = 1, .rank = 0, .incarnation = 1},
            protocol::StepDone{.step = 1,
                               .partitions = {{.job = 1, .generation = 1, .epoch = 1, .host = 1}},
                               .shard_count = 1}));
        return Status();
      });
  const auto sums = map_reduce(
      *rank, indices(1), by_index_range(1), [](const Shard&, auto& emit) { emit(0, 1); },
      sum_vector<std::uint64_t>(1));
  return sums ? Status() : sums.error();
}

TEST(StepRunner, SaysThatAResultIsLostWhichLayOnALostHost) {
  for (const ErrorCode code : {ErrorCode::kUnavailable, ErrorCode::kNotFound}) {
    const Status end = end_of_step_with_far_result({code, "the cable was cut"});
    EXPECT_EQ(end.code(), ErrorCode::kDataLoss) << end.to_string();
    EXPECT_THAT(end.to_string(),
                testing::AllOf(HasSubstr("the result of step 1 lay on host 1"),
                               HasSubstr("the cable was cut"), HasSubstr("run the job again")));
  }
}

TEST(StepRunner, SaysNothingOfOtherHostsWhenItsOwnAgentIsGone) {
  const Status end =
      end_of_step_with_far_result({ErrorCode::kUnavailable, "the cable was cut"},
                                  {ErrorCode::kUnavailable, "the agent of this job is gone"});
  EXPECT_EQ(end.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(end.to_string(), HasSubstr("step 1: the agent of this job is gone"));
}

TEST(StepRunner, PassesOnWhatElseKeepsItFromOpeningAResult) {
  const Status end =
      end_of_step_with_far_result({ErrorCode::kResourceExhausted, "no memory for a copy"});
  EXPECT_EQ(end.code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(end.to_string(), HasSubstr("opening the result of step 1: no memory for a copy"));
}

TEST(StepRunner, HearsNothingThatIsForAnotherLifeOfTheRank) {
  std::unique_ptr<ScriptedRank> rank;
  rank = std::make_unique<ScriptedRank>([&](const protocol::Message&) {
    const auto failure = [](const char* text) {
      return protocol::StepFailed{.step = 1,
                                  .failure = {.code = ErrorCode::kCancelled, .text = text}};
    };
    rank->tell(failure("for the life before"), 0);
    rank->tell(failure("for this life"), 1);
  });
  const Status status =
      for_each_shard(rank->job(), indices(1), by_index_range(1), [](const Shard&) {});
  EXPECT_THAT(status.to_string(), HasSubstr("for this life"));
}

TEST(StepRunner, EndsTheStepWhenAMessageMakesNoSense) {
  std::unique_ptr<ScriptedRank> rank;
  rank = std::make_unique<ScriptedRank>([&](const protocol::Message&) {
    rank->tell_bytes(std::vector<std::byte>(40, std::byte{0x5a}));
  });
  const Status status =
      for_each_shard(rank->job(), indices(1), by_index_range(1), [](const Shard&) {});
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(status.to_string(), HasSubstr("a message of the coordinator"));
}

}  // namespace
}  // namespace pinion
