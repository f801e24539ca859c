#include <pinion/shard/protocol/coordinator.hpp>

#include <algorithm>
#include <optional>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/coordinator_fixture.hpp"

namespace pinion::protocol {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(CoordinatorTest, AsksTheLowestRankToPlanAtOnce) {
  make({.rank_count = 2});
  join(0);
  join(1);
  registers(1, {});
  enter(0);
  EXPECT_THAT(sent<MakePlan>(0), SizeIs(1));
  enter(1);
  EXPECT_THAT(sent<MakePlan>(1), IsEmpty());
}

TEST_F(CoordinatorTest, WaitsForLowerRanksOnlyForAWhile) {
  make({.rank_count = 2});
  join(0);
  join(1);
  enter(1);
  EXPECT_THAT(sent<MakePlan>(1), IsEmpty());
  EXPECT_EQ(coordinator_->next_deadline(), now_ + 2s);
  pass(2s);
  EXPECT_THAT(sent<MakePlan>(1), SizeIs(1));
}

TEST_F(CoordinatorTest, DoesNotWaitForALowerRankThatIsGoneForGood) {
  make({.rank_count = 2});
  join(0);
  join(1);
  enter(1);
  lose(0, false);
  EXPECT_THAT(sent<MakePlan>(1), SizeIs(1));
}

TEST_F(CoordinatorTest, AsksAnotherPlannerWhenOneDies) {
  make({.rank_count = 2});
  join(0);
  join(1);
  enter(0);
  enter(1);
  pass(3s);
  lose(0, true);
  EXPECT_THAT(sent<MakePlan>(1), SizeIs(1));
}

TEST_F(CoordinatorTest, FailsTheStepWhenEveryRankDeclinesToPlan) {
  make({.rank_count = 2});
  join(0);
  join(1);
  enter(0);
  enter(1);
  receive(0, PlanFailed{.step = 1, .failure = {ErrorCode::kUnavailable, "no file on host 0"}});
  EXPECT_THAT(sent<MakePlan>(1), SizeIs(1));
  receive(1, PlanFailed{.step = 1, .failure = {ErrorCode::kUnavailable, "no file on host 1"}});
  EXPECT_EQ(step_failure(0), (Failure{ErrorCode::kUnavailable, "no file on host 0"}));
  EXPECT_EQ(step_failure(1), (Failure{ErrorCode::kUnavailable, "no file on host 0"}));
}

TEST_F(CoordinatorTest, FailsTheStepWhenPlanningFails) {
  make({.rank_count = 1});
  join(0);
  enter(0);
  receive(0, PlanFailed{.step = 1, .failure = {ErrorCode::kNotFound, "no such file"}});
  EXPECT_EQ(step_failure(0), (Failure{ErrorCode::kNotFound, "no such file"}));
}

TEST_F(CoordinatorTest, ReleasesAPlanThatComesTooLate) {
  make({.rank_count = 1});
  start({1}, 1);
  receive(0, PlanReady{.step = 1, .plan = blob(2000)});
  EXPECT_THAT(blobs<Release>(), ElementsAre(2000));
  effects_.clear();
  receive(0, PlanReady{.step = 1, .plan = blob(1000)});
  EXPECT_THAT(blobs<Release>(), IsEmpty());
}

TEST_F(CoordinatorTest, FailsAStepThatTheRanksDisagreeOnAndNamesBoth) {
  make({.rank_count = 2});
  join(0);
  join(1);
  enter(0);
  receive(1, EnterStep{.step = 1, .fingerprint = 6, .description = "k-means"});
  for (const std::uint32_t rank : {0U, 1U}) {
    EXPECT_EQ(step_failure(rank).code, ErrorCode::kFailedPrecondition);
    EXPECT_THAT(step_failure(rank).text, HasSubstr("rank 0 came to \"word count\""));
    EXPECT_THAT(step_failure(rank).text, HasSubstr("rank 1 to \"k-means\""));
  }
}

TEST_F(CoordinatorTest, GrantsTheHeaviestShardsFirst) {
  make({.rank_count = 1});
  start({10, 30, 20, 30}, 1);
  EXPECT_THAT(units(claim(0, 3)), ElementsAre(1, 3, 2));
}

TEST_F(CoordinatorTest, SharesFewShardsAmongTheRanks) {
  make({.rank_count = 2});
  start({1, 1, 1, 1}, 1);
  const std::vector<Lease> first = claim(0, 10);
  EXPECT_THAT(first, SizeIs(2));
  EXPECT_THAT(claim(0, 10), IsEmpty());
  EXPECT_THAT(claim(1, 10), SizeIs(2));
}

TEST_F(CoordinatorTest, GrantsAllToTheRanksThatEnterWhenTheOthersDoNotCome) {
  make({.rank_count = 2});
  join(0);
  join(1);
  registers(1, {});
  enter(0);
  plan(0, {1, 1, 1, 1}, 1);
  EXPECT_THAT(claim(0, 10), SizeIs(2));
  EXPECT_THAT(claim(0, 10), IsEmpty());
  effects_.clear();
  pass(2s);
  EXPECT_THAT(granted(0), SizeIs(2));
}

TEST_F(CoordinatorTest, TellsARankOnceThatNothingIsLeftAndGrantsWhenUnitsReturn) {
  make({.rank_count = 2});
  start({1, 1}, 1);
  const std::vector<Lease> first = claim(0, 1);
  ASSERT_THAT(first, SizeIs(1));
  const std::vector<Lease> other = claim(1, 1);
  ASSERT_THAT(other, SizeIs(1));
  EXPECT_THAT(claim(1, 3), IsEmpty());
  ASSERT_THAT(sent<Grant>(1), SizeIs(1));
  EXPECT_EQ(sent<Grant>(1).front().unit_count_left, 0U);
  effects_.clear();
  pass(1s);
  EXPECT_THAT(sent<Grant>(1), IsEmpty());
  lose(0, false);
  // A unit that a rank died with is run alone, so that the next death shows which one it was.
  EXPECT_THAT(granted(1), IsEmpty());
  EXPECT_EQ(report(1, 1, other), ErrorCode::kOk);
  const std::vector<Lease> again = granted(1);
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_EQ(again.front().unit, first.front().unit);
  EXPECT_GT(again.front().fence, first.front().fence);
  EXPECT_EQ(again.front().attempt, 1U);
}

TEST_F(CoordinatorTest, KeepsBeforeItTellsAndAnswersTheSameReportAlike) {
  make({.rank_count = 1});
  start({1, 1}, 1);
  const std::vector<Lease> leases = claim(0, 2);
  EXPECT_EQ(report(0, 7, {leases[0]}), ErrorCode::kOk);
  ASSERT_GE(effects_.size(), 2U);
  EXPECT_TRUE(std::holds_alternative<Keep>(effects_[0]));
  EXPECT_TRUE(std::holds_alternative<Verdict>(std::get<Send>(effects_[1]).message));
  EXPECT_EQ(report(0, 7, {leases[0]}), ErrorCode::kOk);
  EXPECT_THAT(blobs<Keep>(), IsEmpty());
}

TEST_F(CoordinatorTest, RefusesABatchWithAnAcceptedShardAndGrantsTheOthersAgain) {
  make({.rank_count = 1});
  start({1, 1}, 1);
  const std::vector<Lease> leases = claim(0, 2);
  EXPECT_EQ(report(0, 1, {leases[0]}), ErrorCode::kOk);
  EXPECT_EQ(report(0, 2, leases), ErrorCode::kAlreadyExists);
  EXPECT_THAT(blobs<Keep>(), IsEmpty());
  const std::vector<Lease> again = claim(0, 2);
  ASSERT_THAT(units(again), ElementsAre(leases[1].unit));
  EXPECT_EQ(again.front().attempt, 1U);
}

TEST_F(CoordinatorTest, TakesALateReportUnlessTheUnitWasGrantedAgain) {
  make({.rank_count = 2});
  start({1, 1}, 1);
  const std::vector<Lease> of_0 = claim(0, 1);
  const std::vector<Lease> of_1 = claim(1, 1);
  pass(7s);
  EXPECT_EQ(report(0, 1, of_0), ErrorCode::kOk);
  const std::vector<Lease> again = claim(0, 1);
  ASSERT_THAT(units(again), ElementsAre(of_1.front().unit));
  EXPECT_EQ(report(1, 1, of_1), ErrorCode::kAborted);
  EXPECT_EQ(report(0, 2, again), ErrorCode::kOk);
}

TEST_F(CoordinatorTest, ExtendsByHeartbeatAndNamesWhatIsLost) {
  make({.rank_count = 2});
  start({1, 1}, 1);
  const std::vector<Lease> of_0 = claim(0, 1);
  pass(5s);
  receive(0, Heartbeat{.step = 1, .sent_ns = 42, .held = of_0});
  ASSERT_THAT(sent<HeartbeatAck>(0), SizeIs(1));
  EXPECT_EQ(sent<HeartbeatAck>(0).front(), (HeartbeatAck{.step = 1, .sent_ns = 42, .lost = {}}));
  pass(5s);
  EXPECT_THAT(claim(1, 2), SizeIs(1));
  pass(2s);
  effects_.clear();
  receive(1, Claim{.step = 1, .unit_count = 1});
  EXPECT_THAT(units(granted(1)), ElementsAre(of_0.front().unit));
  receive(0, Heartbeat{.step = 1, .sent_ns = 43, .held = of_0});
  EXPECT_THAT(sent<HeartbeatAck>(0).front().lost, testing::Eq(of_0));
}

TEST_F(CoordinatorTest, IgnoresOlderLivesAndOtherJobsAndEpochs) {
  make({.rank_count = 1});
  start({1}, 1);
  const std::vector<Lease> leases = claim(0, 1);
  effects_.clear();
  const Report late{.step = 1, .report = 1, .output = blob(1), .batch = leases};
  step(MessageReceived{.envelope = {.job = 2, .epoch = 1, .rank = 0, .incarnation = 1},
                       .message = late});
  step(MessageReceived{.envelope = {.job = 1, .epoch = 2, .rank = 0, .incarnation = 1},
                       .message = late});
  step(MessageReceived{.envelope = {.job = 1, .epoch = 1, .rank = 9, .incarnation = 1},
                       .message = late});
  join(0);
  step(MessageReceived{.envelope = {.job = 1, .epoch = 1, .rank = 0, .incarnation = 1},
                       .message = late});
  EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(CoordinatorTest, GivesAFailedShardToAnotherRankFirst) {
  make({.rank_count = 2});
  start({9, 1, 1}, 1);
  const std::vector<Lease> leases = claim(0, 2);
  ASSERT_EQ(leases.front().unit, 0U);
  fail(0, leases, 0, ErrorCode::kUnknown);
  EXPECT_THAT(claim(0, 1), SizeIs(1));
  EXPECT_NE(granted(0).front().unit, 0U);
  const std::vector<Lease> again = claim(1, 1);
  ASSERT_THAT(units(again), ElementsAre(0));
  EXPECT_EQ(again.front().attempt, 2U);
}

TEST_F(CoordinatorTest, GivesAFailedShardToTheSameRankWhenItIsAlone) {
  make({.rank_count = 1});
  start({1}, 1);
  fail(0, claim(0, 1), 0, ErrorCode::kUnknown);
  EXPECT_THAT(claim(0, 1), SizeIs(1));
}

TEST_F(CoordinatorTest, FailsTheStepWithTheLastErrorAfterTheLastAttempt) {
  make({.rank_count = 1, .attempt_count_max = 2});
  start({1}, 1);
  fail(0, claim(0, 1), 0, ErrorCode::kUnknown);
  EXPECT_EQ(step_failure(0).code, ErrorCode::kOk);
  fail(0, claim(0, 1), 0, ErrorCode::kInternal);
  EXPECT_EQ(step_failure(0),
            (Failure{ErrorCode::kInternal, "shard 0 failed on rank 0 in attempt 2 of 2: boom"}));
  EXPECT_THAT(blobs<Release>(), ElementsAre(1000));
  effects_.clear();
  enter(0);
  EXPECT_EQ(step_failure(0).code, ErrorCode::kInternal);
}

TEST_F(CoordinatorTest, FailsTheStepAtOnceWhenRetryingIsInVain) {
  make({.rank_count = 1});
  start({1}, 1);
  fail(0, claim(0, 1), 0, ErrorCode::kNotFound);
  EXPECT_EQ(step_failure(0).code, ErrorCode::kNotFound);
}

TEST_F(CoordinatorTest, FailsTheStepWhenAShardKeepsKillingRanks) {
  make({.rank_count = 2, .death_count_max = 2});
  start({1, 1}, 1);
  for (int death = 0; death < 2; ++death) {
    EXPECT_EQ(step_failure(1).code, ErrorCode::kOk);
    ASSERT_THAT(units(claim(0, 1)), ElementsAre(0));
    lose(0, true);
    if (death == 0) {
      join(0);
      enter(0);
    }
  }
  EXPECT_THAT(step_failure(1).text,
              HasSubstr("shard 0 was held by 2 ranks when they died, the last of them rank 0 "
                        "(signal 9)"));
}

TEST_F(CoordinatorTest, MergesEveryPartitionFromThePartialsInOrderOfTheirShards) {
  make({.rank_count = 1});
  start({1, 2}, 2);
  const std::vector<Lease> leases = claim(0, 2);
  ASSERT_THAT(units(leases), ElementsAre(1, 0));
  EXPECT_EQ(report(0, 1, {leases[0]}), ErrorCode::kOk);
  receive(0, Claim{.step = 1, .unit_count = 4});
  EXPECT_EQ(report(0, 2, {leases[1]}), ErrorCode::kOk);
  ASSERT_THAT(sent<MergeInputs>(0), SizeIs(1));
  EXPECT_THAT(sent<MergeInputs>(0).front().partials, ElementsAre(blob(2), blob(1)));
  const std::vector<Lease> partitions = granted(0);
  ASSERT_THAT(units(partitions), ElementsAre(0, 1));
  EXPECT_EQ(report(0, 11, {partitions[1]}, Stage::kMerge), ErrorCode::kOk);
  EXPECT_EQ(report(0, 10, {partitions[0]}, Stage::kMerge), ErrorCode::kOk);
  ASSERT_THAT(sent<StepDone>(0), SizeIs(1));
  EXPECT_THAT(sent<StepDone>(0).front().partitions, ElementsAre(blob(10), blob(11)));
  EXPECT_THAT(blobs<Release>(), testing::UnorderedElementsAre(1000, 1, 2));
  EXPECT_EQ(coordinator_->progress().shard_accepted_count, 2U);
  EXPECT_EQ(coordinator_->next_deadline(), Instant::max());
}

TEST_F(CoordinatorTest, MergesAStepWithoutShardsFromNothing) {
  make({.rank_count = 1});
  start({}, 1);
  const std::vector<Lease> partitions = claim(0, 4);
  ASSERT_THAT(partitions, SizeIs(1));
  EXPECT_THAT(sent<MergeInputs>(0).front().partials, IsEmpty());
  EXPECT_EQ(report(0, 1, partitions, Stage::kMerge), ErrorCode::kOk);
  EXPECT_THAT(sent<StepDone>(0), SizeIs(1));
}

TEST_F(CoordinatorTest, EndsAStepWithoutPartitionsAfterItsShards) {
  make({.rank_count = 1});
  start({1}, 0);
  EXPECT_EQ(report(0, 1, claim(0, 1)), ErrorCode::kOk);
  EXPECT_THAT(sent<StepDone>(0), SizeIs(1));
  EXPECT_THAT(blobs<Release>(), ElementsAre(1000, 1));
}

TEST_F(CoordinatorTest, AnswersAFinishedStepAtOnce) {
  make({.rank_count = 1});
  start({}, 0);
  lose(0, true);
  join(0);
  effects_.clear();
  enter(0);
  EXPECT_THAT(sent<StepDone>(0), SizeIs(1));
  EXPECT_THAT(sent<MakePlan>(0), IsEmpty());
}

TEST_F(CoordinatorTest, RepeatsAFinishedStepWithoutFastForward) {
  make({.rank_count = 1, .fast_forward = false});
  start({}, 0);
  lose(0, true);
  join(0);
  effects_.clear();
  enter(0);
  EXPECT_THAT(sent<StepDone>(0), IsEmpty());
  EXPECT_THAT(sent<MakePlan>(0), SizeIs(1));
}

TEST_F(CoordinatorTest, LeasesTheBatchesOfAnOrderedStepAndCountsTheirShards) {
  make({.rank_count = 1});
  start_ordered({1, 1, 5, 1, 3}, 2);
  const std::vector<Lease> leases = claim(0, 9);
  // By the weights of all their shards: 6, 3, 2.
  EXPECT_THAT(units(leases), ElementsAre(1, 2, 0));
  EXPECT_EQ(coordinator_->progress().shard_count, 5U);
  EXPECT_EQ(report(0, 1, {leases[1]}), ErrorCode::kOk);
  EXPECT_EQ(coordinator_->progress().shard_accepted_count, 1U);
  EXPECT_EQ(coordinator_->progress().weight_accepted, 3U);
  EXPECT_EQ(report(0, 2, {leases[0]}), ErrorCode::kOk);
  EXPECT_EQ(report(0, 3, {leases[2]}), ErrorCode::kOk);
  EXPECT_EQ(coordinator_->progress().shard_accepted_count, 5U);
  const std::vector<Lease> partitions = claim(0, 1);
  EXPECT_THAT(sent<MergeInputs>(0).front().partials, ElementsAre(blob(3), blob(2), blob(1)));
  EXPECT_EQ(report(0, 4, partitions, Stage::kMerge), ErrorCode::kOk);
  EXPECT_EQ(sent<StepDone>(0).front().shard_count, 5U);
}

TEST_F(CoordinatorTest, RefusesAReportOfTwoBatchesOfAnOrderedStep) {
  make({.rank_count = 1});
  start_ordered({1, 1, 1}, 1);
  const std::vector<Lease> leases = claim(0, 3);
  EXPECT_EQ(report(0, 1, {leases[0], leases[2]}), ErrorCode::kAborted);
  EXPECT_THAT(blobs<Keep>(), IsEmpty());
  // Both wait again, without a failure counted against them.
  EXPECT_THAT(units(claim(0, 3)), ElementsAre(0, 2));
  EXPECT_EQ(granted(0).front().attempt, 1U);
}

TEST_F(CoordinatorTest, NamesTheShardsOfABatchOfAnOrderedStepThatFails) {
  make({.rank_count = 1, .attempt_count_max = 1});
  start_ordered({1, 1, 1, 9, 9}, 3);
  const std::vector<Lease> leases = claim(0, 1);
  fail(0, leases, leases.front().unit, ErrorCode::kUnknown);
  EXPECT_THAT(step_failure(0).text, HasSubstr("shards 3 to 4 failed on rank 0"));
}

TEST_F(CoordinatorTest, EndsTheJobWhenTheLastRankIsGone) {
  make({.rank_count = 1});
  start({1}, 1);
  lose(0, true);
  EXPECT_THAT(effects_, IsEmpty());
  lose(0, false);
  ASSERT_THAT(effects_, SizeIs(1));
  EXPECT_EQ(std::get<EndJob>(effects_.front()).failure.code, ErrorCode::kUnavailable);
  EXPECT_THAT(std::get<EndJob>(effects_.front()).failure.text, HasSubstr("signal 9"));
}

TEST_F(CoordinatorTest, CancelsTheJobOnEveryRankAndTellsThoseThatComeLater) {
  make({.rank_count = 3});
  join(0);
  join(1);
  receive(1, CancelJob{.failure = {ErrorCode::kCancelled, "enough"}});
  EXPECT_THAT(sent<JobFailed>(0), SizeIs(1));
  EXPECT_THAT(sent<JobFailed>(1), SizeIs(1));
  EXPECT_EQ(std::get<EndJob>(effects_.back()).failure, (Failure{ErrorCode::kCancelled, "enough"}));
  join(2);
  EXPECT_THAT(sent<JobFailed>(2), SizeIs(1));
  enter(0);
  EXPECT_THAT(sent<JobFailed>(0), SizeIs(2));
}

}  // namespace
}  // namespace pinion::protocol
