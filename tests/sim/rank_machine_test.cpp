#include <pinion/shard/protocol/rank_machine.hpp>

#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion::protocol {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

/// A machine that has entered step 1; the effects of each call replace those of the call before.
class RankMachineTest : public testing::Test {
 protected:
  RankMachineTest() { machine_.start(now_, effects_); }

  void receive(const Message& message) {
    effects_.clear();
    machine_.receive(message, now_, effects_);
  }
  void begin() { receive(StepStarted{.step = 1, .lease_duration = 6s}); }
  void grant(std::vector<Lease> leases, std::uint64_t unit_count_left = 9,
             Stage stage = Stage::kMap) {
    receive(Grant{.step = 1,
                  .stage = stage,
                  .unit_count_left = unit_count_left,
                  .lease_duration = 6s,
                  .leases = std::move(leases)});
  }
  void tick(Duration later) {
    now_ += later;
    effects_.clear();
    machine_.tick(now_, effects_);
  }
  void seal(std::vector<Lease> batch) {
    effects_.clear();
    machine_.batch_sealed({.report = 1, .batch = std::move(batch)}, now_, effects_);
  }

  template <class Kind>
  std::vector<Kind> found() const {
    std::vector<Kind> all;
    for (const RankEffect& effect : effects_) {
      if (const auto* one = std::get_if<Kind>(&effect)) {
        all.push_back(*one);
      }
    }
    return all;
  }
  template <class Body>
  std::vector<Body> sent() const {
    std::vector<Body> all;
    for (const SendMessage& send : found<SendMessage>()) {
      if (const auto* one = std::get_if<Body>(&send.message)) {
        all.push_back(*one);
      }
    }
    return all;
  }
  static Lease lease(std::uint64_t unit, std::uint64_t counter) {
    return {.unit = unit, .fence = {.epoch = 1, .counter = counter}};
  }

  Instant now_{100s};
  RankEffects effects_;
  RankMachine machine_{{.lease_count_max = 4, .heartbeat = 2s},
                       {.step = 1, .fingerprint = 2, .description = "word count"}};
};

TEST_F(RankMachineTest, EntersFirstAndClaimsOnceTheStepHasStarted) {
  EXPECT_THAT(sent<EnterStep>(), SizeIs(1));
  EXPECT_THAT(sent<Claim>(), IsEmpty());
  begin();
  EXPECT_THAT(found<UsePlan>(), SizeIs(1));
  EXPECT_THAT(sent<Claim>(), ElementsAre(Claim{.step = 1, .unit_count = 4}));
  begin();
  EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(RankMachineTest, PlansWhenAskedAndOnlyThen) {
  effects_.clear();
  machine_.plan_ready({}, now_, effects_);
  EXPECT_THAT(effects_, IsEmpty());
  const std::vector<PlaceWorkers> workers = {{{.index = 2}, 3}, {{.host = 1}, 4}};
  receive(MakePlan{.step = 1, .workers = workers});
  ASSERT_THAT(found<StartPlanning>(), SizeIs(1));
  EXPECT_EQ(found<StartPlanning>().front().workers, workers);
  effects_.clear();
  machine_.plan_ready({}, now_, effects_);
  ASSERT_THAT(sent<PlanReady>(), SizeIs(1));
  EXPECT_EQ(sent<PlanReady>().front().step, 1U);
  receive(MakePlan{.step = 1});
  effects_.clear();
  machine_.plan_failed({ErrorCode::kUnavailable, "no"}, now_, effects_);
  EXPECT_THAT(sent<PlanFailed>(), SizeIs(1));
}

TEST_F(RankMachineTest, PlansAgainInTheMiddleOfAStepAndUsesAnotherBlobOfThePlan) {
  begin();
  receive(MakePlan{.step = 1});
  EXPECT_THAT(found<StartPlanning>(), SizeIs(1));
  const BlobHandle again{.job = 1, .generation = 7};
  receive(StepStarted{.step = 1, .plan = again, .lease_duration = 6s});
  ASSERT_THAT(found<UsePlan>(), SizeIs(1));
  EXPECT_EQ(found<UsePlan>().front().started.plan, again);
  receive(StepStarted{.step = 1, .plan = again, .lease_duration = 6s});
  EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(RankMachineTest, DropsMergesWhenItsStepHasToMapAgain) {
  begin();
  const std::vector<Lease> merges = {lease(0, 1), lease(1, 2)};
  grant(merges, 0, Stage::kMerge);
  grant({lease(5, 3)});
  ASSERT_THAT(found<DropLeases>(), SizeIs(1));
  EXPECT_EQ(found<DropLeases>().front().stage, Stage::kMerge);
  EXPECT_EQ(found<DropLeases>().front().leases, merges);
  EXPECT_THAT(found<RunLeases>(), SizeIs(1));
}

TEST_F(RankMachineTest, LeasesAreTakenAwayUnaskedAndNoneIsExtendedByThat) {
  begin();
  grant({lease(0, 1), lease(1, 2)}, 0, Stage::kMerge);
  now_ += 4s;
  receive(HeartbeatAck{.step = 1, .sent_ns = HeartbeatAck::kUnasked, .lost = {lease(0, 1)}});
  ASSERT_THAT(found<DropLeases>(), SizeIs(1));
  EXPECT_THAT(found<DropLeases>().front().leases, ElementsAre(lease(0, 1)));
  tick(1s);
  ASSERT_THAT(found<DropLeases>(), SizeIs(1)) << "the other has run out";
  EXPECT_THAT(found<DropLeases>().front().leases, ElementsAre(lease(1, 2)));
}

TEST_F(RankMachineTest, TakesAGrantOnceThatComesTwice) {
  begin();
  const std::vector<Lease> leases = {lease(0, 1), lease(1, 2)};
  grant(leases);
  grant(leases);
  EXPECT_THAT(effects_, IsEmpty());
  seal({lease(0, 1)});
  EXPECT_THAT(sent<Report>(), SizeIs(1));
  grant(leases);
  EXPECT_THAT(effects_, IsEmpty()) << "one of them is reported and not its own any more";
  tick(2s);
  ASSERT_THAT(sent<Heartbeat>(), SizeIs(1));
  EXPECT_THAT(sent<Heartbeat>().front().held, ElementsAre(lease(1, 2)));
}

TEST_F(RankMachineTest, ClaimsMoreWhenItHoldsLessThanHalf) {
  begin();
  grant({lease(0, 1), lease(1, 2)});
  EXPECT_THAT(sent<Claim>(), IsEmpty());
  ASSERT_THAT(found<RunLeases>(), SizeIs(1));
  // Nothing more is claimed until one of these ends, so a batch must not wait for more.
  EXPECT_EQ(found<RunLeases>().front().unit_count_left, 0U);
  seal({lease(0, 1)});
  EXPECT_THAT(sent<Report>(), SizeIs(1));
  EXPECT_THAT(sent<Claim>(), ElementsAre(Claim{.step = 1, .unit_count = 3}));
  grant({});
  EXPECT_THAT(sent<Claim>(), IsEmpty());
}

TEST_F(RankMachineTest, SaysThatMoreMayComeWhileAClaimIsOpen) {
  begin();
  grant({lease(0, 1)}, 9);
  EXPECT_EQ(found<RunLeases>().front().unit_count_left, 9U);
  EXPECT_THAT(sent<Claim>(), SizeIs(1));
  grant({}, 0);
  EXPECT_EQ(found<RunLeases>().front().unit_count_left, 0U);
}

TEST_F(RankMachineTest, ClaimsByWhatIsUnfinishedOnceItIsToldTheNeed) {
  const RankMachine::Need need{.least_count = 1, .wanted_count = 2};
  begin();
  grant({lease(0, 1), lease(1, 2)});
  effects_.clear();
  machine_.need(2, need, now_, effects_);
  EXPECT_THAT(sent<Claim>(), IsEmpty());
  machine_.need(1, need, now_, effects_);
  EXPECT_THAT(sent<Claim>(), ElementsAre(Claim{.step = 1, .unit_count = 1}));
  effects_.clear();
  machine_.need(0, need, now_, effects_);
  EXPECT_THAT(effects_, IsEmpty()) << "the claim is still open";
  grant({lease(2, 3)});
  // Workers will be done with these before any is reported, and there is room for one more.
  EXPECT_EQ(found<RunLeases>().front().unit_count_left, 9U);
  EXPECT_THAT(sent<Claim>(), ElementsAre(Claim{.step = 1, .unit_count = 1}));
  grant({lease(3, 4)});
  EXPECT_EQ(found<RunLeases>().front().unit_count_left, 0U) << "it may hold no more than four";
  effects_.clear();
  machine_.need(0, need, now_, effects_);
  EXPECT_THAT(sent<Claim>(), IsEmpty());
  seal({lease(0, 1)});
  EXPECT_THAT(sent<Claim>(), ElementsAre(Claim{.step = 1, .unit_count = 1}));
}

TEST_F(RankMachineTest, SendsHeartbeatsWhileItHoldsLeases) {
  begin();
  EXPECT_EQ(machine_.next_deadline(), Instant::max());
  grant({lease(0, 1), lease(1, 2)});
  EXPECT_EQ(machine_.next_deadline(), now_ + 2s);
  tick(2s);
  ASSERT_THAT(sent<Heartbeat>(), SizeIs(1));
  EXPECT_EQ(sent<Heartbeat>().front().sent_ns, now_.time_since_epoch().count());
  EXPECT_THAT(sent<Heartbeat>().front().held, ElementsAre(lease(0, 1), lease(1, 2)));
  seal({lease(0, 1), lease(1, 2)});
  tick(2s);
  EXPECT_THAT(sent<Heartbeat>(), IsEmpty());
}

TEST_F(RankMachineTest, SendsHeartbeatsOftenEnoughForAShortLease) {
  begin();
  receive(Grant{.step = 1,
                .stage = Stage::kMap,
                .unit_count_left = 9,
                .lease_duration = 600ms,
                .leases = {lease(0, 1)}});
  for (int beat = 0; beat < 3; ++beat) {
    EXPECT_EQ(machine_.next_deadline(), now_ + 200ms);
    tick(200ms);
    EXPECT_THAT(sent<Heartbeat>(), SizeIs(1));
    receive(HeartbeatAck{.step = 1, .sent_ns = now_.time_since_epoch().count()});
    EXPECT_THAT(found<DropLeases>(), IsEmpty());
  }
}

TEST_F(RankMachineTest, StopsUsingWhatIsNotExtendedAtFourFifthsOfTheLease) {
  begin();
  grant({lease(0, 1), lease(1, 2)});
  tick(4799ms);
  EXPECT_THAT(found<DropLeases>(), IsEmpty());
  tick(1ms);
  ASSERT_THAT(found<DropLeases>(), SizeIs(1));
  EXPECT_THAT(found<DropLeases>().front().leases, ElementsAre(lease(0, 1), lease(1, 2)));
  EXPECT_THAT(sent<GiveBack>(), SizeIs(1));
  EXPECT_THAT(sent<Claim>(), SizeIs(1));
  seal({lease(0, 1)});
  EXPECT_THAT(sent<Report>(), IsEmpty());
  EXPECT_EQ(found<BatchSettled>().front().failure.code, ErrorCode::kAborted);
}

TEST_F(RankMachineTest, CountsAnExtensionFromWhenTheHeartbeatWasSent) {
  begin();
  grant({lease(0, 1), lease(1, 2)});
  tick(2s);
  const std::int64_t sent_ns = now_.time_since_epoch().count();
  now_ += 1s;
  receive(HeartbeatAck{.step = 1, .sent_ns = sent_ns, .lost = {}});
  tick(3799ms);
  EXPECT_THAT(found<DropLeases>(), IsEmpty());
  tick(1ms);
  EXPECT_THAT(found<DropLeases>(), SizeIs(1));
}

TEST_F(RankMachineTest, IsNotExtendedByAnAcknowledgementOfWhatItNeverSent) {
  begin();
  grant({lease(0, 1), lease(1, 2)});
  receive(HeartbeatAck{.step = 1, .sent_ns = (now_ + 1h).time_since_epoch().count(), .lost = {}});
  tick(4800ms);
  EXPECT_THAT(found<DropLeases>(), SizeIs(1));
}

TEST_F(RankMachineTest, ADelayedCallDoesNotReportWhatIsOverdue) {
  begin();
  grant({lease(0, 1), lease(1, 2)});
  now_ += 10s;
  seal({lease(0, 1), lease(1, 2)});
  EXPECT_THAT(sent<Report>(), IsEmpty());
  EXPECT_THAT(found<DropLeases>(), SizeIs(1));
  EXPECT_EQ(found<BatchSettled>().front().failure.code, ErrorCode::kAborted);
}

TEST_F(RankMachineTest, DropsWhatTheCoordinatorCallsLostAndGivesTheRestOfTheBatchBack) {
  begin();
  grant({lease(0, 1), lease(1, 2)});
  tick(2s);
  receive(
      HeartbeatAck{.step = 1, .sent_ns = now_.time_since_epoch().count(), .lost = {lease(0, 1)}});
  ASSERT_THAT(found<DropLeases>(), SizeIs(1));
  EXPECT_THAT(found<DropLeases>().front().leases, ElementsAre(lease(0, 1)));
  seal({lease(0, 1), lease(1, 2)});
  EXPECT_THAT(sent<Report>(), IsEmpty());
  ASSERT_THAT(sent<GiveBack>(), SizeIs(1));
  EXPECT_THAT(sent<GiveBack>().front().leases, ElementsAre(lease(1, 2)));
}

TEST_F(RankMachineTest, ReportsAFailedBatchOnlyWhenTheBadUnitIsItsOwn) {
  begin();
  grant({lease(0, 1), lease(1, 2)});
  effects_.clear();
  machine_.batch_failed({.bad_unit = 7, .batch = {lease(7, 9), lease(0, 1)}}, now_, effects_);
  EXPECT_THAT(sent<BatchFailed>(), IsEmpty());
  EXPECT_THAT(sent<GiveBack>(), SizeIs(1));
  effects_.clear();
  machine_.batch_failed({.bad_unit = 1, .batch = {lease(1, 2)}}, now_, effects_);
  EXPECT_THAT(sent<BatchFailed>(), SizeIs(1));
}

TEST_F(RankMachineTest, DropsItsShardsWhenPartitionsAreGranted) {
  begin();
  grant({lease(0, 1)});
  receive(MergeInputs{.step = 1, .partials = {BlobHandle{.generation = 4}}});
  ASSERT_THAT(found<UsePartials>(), SizeIs(1));
  grant({lease(0, 5)}, 0, Stage::kMerge);
  ASSERT_THAT(found<DropLeases>(), SizeIs(1));
  EXPECT_EQ(found<DropLeases>().front().stage, Stage::kMap);
  ASSERT_THAT(found<RunLeases>(), SizeIs(1));
  EXPECT_EQ(found<RunLeases>().front().stage, Stage::kMerge);
}

TEST_F(RankMachineTest, DropsWhatItCombinesWhenPartitionsAreGranted) {
  begin();
  receive(MergeInputs{.step = 1, .partials = {BlobHandle{.generation = 4}}});
  grant({lease(6, 1), lease(7, 2)}, 0, Stage::kCombine);
  tick(2s);
  ASSERT_THAT(sent<Heartbeat>(), SizeIs(1));
  EXPECT_THAT(sent<Heartbeat>().front().held, ElementsAre(lease(6, 1), lease(7, 2)));
  receive(MergeInputs{.step = 1, .partials = {BlobHandle{.generation = 5}}});
  grant({lease(0, 5)}, 0, Stage::kMerge);
  ASSERT_THAT(found<DropLeases>(), SizeIs(1));
  EXPECT_EQ(found<DropLeases>().front().stage, Stage::kCombine);
  EXPECT_THAT(found<DropLeases>().front().leases, ElementsAre(lease(6, 1), lease(7, 2)));
}

TEST_F(RankMachineTest, IgnoresOtherStepsAndEverythingAfterTheEnd) {
  receive(StepStarted{.step = 2, .lease_duration = 6s});
  EXPECT_THAT(effects_, IsEmpty());
  begin();
  grant({lease(0, 1)});
  receive(StepFailed{.step = 1, .failure = {ErrorCode::kDataLoss, "gone"}});
  ASSERT_THAT(found<StepFinished>(), SizeIs(1));
  EXPECT_EQ(found<StepFinished>().front().failure.code, ErrorCode::kDataLoss);
  EXPECT_EQ(machine_.next_deadline(), Instant::max());
  seal({lease(0, 1)});
  EXPECT_THAT(effects_, IsEmpty());
  receive(StepDone{.step = 1});
  EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(RankMachineTest, RegistersBeforeAnythingElse) {
  const Register registration{.process = {.high = 1, .low = 2}, .protocol_version = 1};
  RankMachine machine({.registration = registration}, {.step = 1});
  effects_.clear();
  machine.start(now_, effects_);
  ASSERT_THAT(effects_, SizeIs(2));
  EXPECT_EQ(std::get<Register>(std::get<SendMessage>(effects_[0]).message), registration);
  effects_.clear();
  machine.receive(Registered{.failure = {}, .lease_duration = 6s}, now_, effects_);
  EXPECT_THAT(effects_, IsEmpty());
  machine.receive(Registered{.failure = {ErrorCode::kAlreadyExists, "another one"}}, now_,
                  effects_);
  ASSERT_THAT(found<StepFinished>(), SizeIs(1));
  EXPECT_EQ(found<StepFinished>().front().failure.code, ErrorCode::kAlreadyExists);
}

TEST_F(RankMachineTest, ClaimsNothingMoreOnceItDrainsButFinishesWhatItHolds) {
  begin();
  grant({lease(0, 1), lease(1, 2)});
  effects_.clear();
  machine_.drain("too hot", now_, effects_);
  EXPECT_THAT(sent<Drain>(), ElementsAre(Drain{.reason = "too hot"}));
  seal({lease(0, 1), lease(1, 2)});
  EXPECT_THAT(sent<Report>(), SizeIs(1));
  EXPECT_THAT(sent<Claim>(), IsEmpty());
  effects_.clear();
  machine_.drain("too hot", now_, effects_);
  EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(RankMachineTest, SaysInItsHeartbeatWhatItHasDoneAndSeenOnce) {
  begin();
  grant({lease(0, 1), lease(1, 2), lease(2, 3)});
  effects_.clear();
  machine_.batch_sealed({.report = 1, .input_bytes = 100, .batch = {lease(0, 1), lease(1, 2)}},
                        now_, effects_);
  machine_.observe("the disk is slow");
  tick(2s);
  ASSERT_THAT(sent<Heartbeat>(), SizeIs(1));
  EXPECT_EQ(sent<Heartbeat>().front().unit_count_done, 2U);
  EXPECT_EQ(sent<Heartbeat>().front().input_bytes, 100U);
  EXPECT_THAT(sent<Heartbeat>().front().observations, ElementsAre("the disk is slow"));
  tick(2s);
  ASSERT_THAT(sent<Heartbeat>(), SizeIs(1));
  EXPECT_THAT(sent<Heartbeat>().front().observations, IsEmpty());
}

TEST_F(RankMachineTest, SendsWhatItHasSeenAtOnceAlsoWhenItHoldsNothing) {
  begin();
  receive(ShardSkipped{.step = 1, .shard = 7, .failure = {ErrorCode::kUnknown, "boom"}});
  ASSERT_THAT(found<NameSkipped>(), SizeIs(1));
  EXPECT_EQ(found<NameSkipped>().front().shard, 7U);
  EXPECT_EQ(found<NameSkipped>().front().failure.text, "boom");
  EXPECT_EQ(machine_.next_deadline(), Instant::max());
  machine_.observe("shard 7 has the poem");
  EXPECT_LE(machine_.next_deadline(), now_);
  tick(0s);
  ASSERT_THAT(sent<Heartbeat>(), SizeIs(1));
  EXPECT_THAT(sent<Heartbeat>().front().observations, ElementsAre("shard 7 has the poem"));
  EXPECT_EQ(machine_.next_deadline(), Instant::max());
}

TEST_F(RankMachineTest, EndsWithTheJob) {
  receive(JobFailed{.failure = {ErrorCode::kCancelled, "enough"}});
  ASSERT_THAT(found<StepFinished>(), SizeIs(1));
  EXPECT_TRUE(found<StepFinished>().front().job_failed);
}

}  // namespace
}  // namespace pinion::protocol
