// What a coordinator does when a host is lost with its ranks and its blobs.

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/protocol/coordinator.hpp>

#include "sim/coordinator_fixture.hpp"

namespace pinion::protocol {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

/// Rank N lives on host N.
class LostHostTest : public CoordinatorTest {
 protected:
  void make_hosts(std::uint32_t count, CoordinatorOptions options = {}) {
    options.rank_count = count;
    for (std::uint32_t host = 0; host < count; ++host) {
      options.rank_hosts.push_back(host);
    }
    make(options);
  }
  void lose_host(std::uint32_t host) {
    effects_.clear();
    step(HostLost{.host = host, .reason = "its power failed"});
  }
  static BlobHandle on(std::uint32_t host, std::uint64_t generation) {
    return {.job = 1, .generation = generation, .epoch = 1, .host = host};
  }
  /// With an output that lies where the rank lives.
  ErrorCode report_here(std::uint32_t rank, std::uint64_t number, const std::vector<Lease>& batch,
                        Stage stage = Stage::kMap) {
    effects_.clear();
    receive(rank, Report{.step = 1,
                         .stage = stage,
                         .report = number,
                         .output = on(rank, number),
                         .input_bytes = 10,
                         .batch = batch});
    return sent<Verdict>(rank).at(0).failure.code;
  }
  void fail_merge(std::uint32_t rank, const Lease& lease, ErrorCode code) {
    effects_.clear();
    receive(rank, BatchFailed{.step = 1,
                              .stage = Stage::kMerge,
                              .bad_unit = lease.unit,
                              .failure = {.code = code, .text = "cannot be reached"},
                              .batch = {lease}});
  }
  /// Both of two ranks map one unit of two, with outputs 1 and 2.
  void map_one_each() {
    start({1, 1}, 2);
    const std::vector<Lease> of_0 = claim(0, 1);
    const std::vector<Lease> of_1 = claim(1, 1);
    EXPECT_EQ(report_here(0, 1, of_0), ErrorCode::kOk);
    EXPECT_EQ(report_here(1, 2, of_1), ErrorCode::kOk);
  }
  Failure job_end() const {
    for (const Effect& effect : effects_) {
      if (const auto* end = std::get_if<EndJob>(&effect)) {
        return end->failure;
      }
    }
    return {};
  }
};

TEST_F(LostHostTest, LosesItsRanksForGood) {
  make_hosts(2);
  start({1, 1}, 1);
  const std::vector<Lease> leases = claim(1, 1);
  lose_host(1);
  EXPECT_EQ(member(1).state, MemberState::kGone);
  EXPECT_EQ(member(1).reason, "host 1 is lost: its power failed");
  EXPECT_THAT(observations(), ElementsAre("host 1 is lost: its power failed"));
  join(1);
  registers(1, {});
  step(RankLost{.rank = 1, .incarnation = 9, .returns = true});
  EXPECT_EQ(member(1).state, MemberState::kGone);
  EXPECT_THAT(claim(0, 2), SizeIs(2)) << "what it held, and the rest";
}

TEST_F(LostHostTest, WithARankThatWasStillToComeDoesNotWaitForIt) {
  make_hosts(2);
  join(1);
  registers(1, {});
  lose(1, true);
  join(0);
  enter(0);
  plan(0, std::vector<std::uint64_t>{1, 1}, 1);
  lose_host(1);
  EXPECT_THAT(claim(0, 2), SizeIs(2)) << "no share is left for it";
}

TEST_F(LostHostTest, IsKnownOnceAndNeverOfTheCoordinatorsOwn) {
  make_hosts(2);
  start({1}, 1);
  lose_host(0);
  EXPECT_THAT(effects_, IsEmpty());
  lose_host(1);
  lose_host(1);
  EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(LostHostTest, GrantsAgainWhatOnlyItHeldOfTheMapStage) {
  make_hosts(2, {.death_count_max = 1});
  start({4, 3, 2, 1}, 1);
  const std::vector<Lease> of_0 = claim(0, 1);
  const std::vector<Lease> of_1 = claim(1, 2);
  EXPECT_EQ(report_here(0, 1, of_0), ErrorCode::kOk);
  EXPECT_EQ(report_here(1, 2, {of_1[0]}), ErrorCode::kOk);
  lose_host(1);
  EXPECT_EQ(coordinator_->progress().shard_accepted_count, 1U);
  EXPECT_EQ(coordinator_->progress().weight_accepted, 4U);
  EXPECT_EQ(coordinator_->progress().input_bytes, 10U);
  EXPECT_EQ(coordinator_->progress().failure_count, 0U) << "through no fault of the units";
  const std::vector<Lease> rest = claim(0, 9);
  EXPECT_THAT(units(rest), ElementsAre(1, 2, 3));
  EXPECT_EQ(report_here(0, 3, rest), ErrorCode::kOk);
  const std::vector<Lease> merge = claim(0, 1);
  EXPECT_THAT(sent<MergeInputs>(0).at(0).partials, ElementsAre(on(0, 1), on(0, 3)));
  EXPECT_EQ(report_here(0, 4, merge, Stage::kMerge), ErrorCode::kOk);
  EXPECT_EQ(sent<StepDone>(0).at(0).input_bytes, 20U);
  EXPECT_THAT(blobs<Release>(), UnorderedElementsAre(1000, 1, 3)) << "not what was lost";
}

TEST_F(LostHostTest, GoesBackFromTheMergeStage) {
  make_hosts(2);
  map_one_each();
  const std::vector<Lease> merge = claim(0, 1);
  EXPECT_THAT(sent<MergeInputs>(0).at(0).partials, ElementsAre(on(0, 1), on(1, 2)));
  lose_host(1);
  ASSERT_THAT(sent<HeartbeatAck>(0), SizeIs(1));
  EXPECT_EQ(sent<HeartbeatAck>(0).front().sent_ns, HeartbeatAck::kUnasked);
  EXPECT_THAT(units(sent<HeartbeatAck>(0).front().lost), ElementsAre(merge.front().unit));
  EXPECT_EQ(coordinator_->progress().stage, Stage::kMap);
  EXPECT_EQ(report_here(0, 3, merge, Stage::kMerge), ErrorCode::kAborted)
      << "what it was merged from is not what counts now";
  const std::vector<Lease> again = claim(0, 9);
  EXPECT_THAT(units(again), ElementsAre(1));
  EXPECT_EQ(report_here(0, 4, again), ErrorCode::kOk);
  const std::vector<Lease> merges = claim(0, 9);
  EXPECT_THAT(sent<MergeInputs>(0).at(0).partials, ElementsAre(on(0, 1), on(0, 4)));
  EXPECT_THAT(units(merges), ElementsAre(0, 1));
}

TEST_F(LostHostTest, ClaimsThatWaitAreServedWithWhatIsOpenAgain) {
  make_hosts(3);
  start({1}, 1);
  const std::vector<Lease> leases = claim(1, 1);
  EXPECT_EQ(report_here(1, 1, leases), ErrorCode::kOk);
  const std::vector<Lease> merge = claim(0, 1);
  ASSERT_THAT(merge, SizeIs(1));
  EXPECT_THAT(claim(2, 1), IsEmpty());
  lose_host(1);
  EXPECT_THAT(units(granted(2)), ElementsAre(0));
  EXPECT_EQ(sent<Grant>(2).front().stage, Stage::kMap);
}

TEST_F(LostHostTest, KeepsMergedPartitionsOfOtherHostsAndMergesItsOwnAgain) {
  make_hosts(3);
  start({1}, 2);
  const std::vector<Lease> leases = claim(0, 1);
  EXPECT_EQ(report_here(0, 1, leases), ErrorCode::kOk);
  const std::vector<Lease> of_1 = claim(1, 1);
  const std::vector<Lease> of_2 = claim(2, 1);
  EXPECT_EQ(report_here(1, 2, of_1, Stage::kMerge), ErrorCode::kOk);
  lose_host(1);
  EXPECT_THAT(sent<HeartbeatAck>(2), IsEmpty()) << "its merge is as good as before";
  const std::vector<Lease> again = claim(0, 9);
  EXPECT_THAT(units(again), ElementsAre(of_1.front().unit));
  EXPECT_EQ(report_here(2, 3, of_2, Stage::kMerge), ErrorCode::kOk);
  EXPECT_EQ(report_here(0, 4, again, Stage::kMerge), ErrorCode::kOk);
  EXPECT_THAT(sent<StepDone>(0).at(0).partitions, ElementsAre(on(0, 4), on(2, 3)));
}

TEST_F(LostHostTest, RefusesOutputsThatLayThere) {
  make_hosts(3);
  start({1}, 1);
  const std::vector<Lease> leases = claim(2, 1);
  lose_host(1);
  receive(2, Report{.step = 1, .report = 1, .output = on(1, 1), .batch = leases});
  EXPECT_EQ(sent<Verdict>(2).at(0).failure.code, ErrorCode::kAborted);
  EXPECT_THAT(sent<Verdict>(2).at(0).failure.text, HasSubstr("host 1, which is lost"));
  EXPECT_THAT(claim(2, 1), SizeIs(1));
}

TEST_F(LostHostTest, PlansAgainForRanksThatHaveYetToCome) {
  make_hosts(3);
  const PlanReady first{.step = 1, .plan = on(1, 50), .shards = {{.weight = 1}, {.weight = 1}}};
  for (const std::uint32_t rank : {1U, 2U}) {
    join(rank);
    enter(rank);
  }
  pass(3s);
  receive(1, first);
  lose_host(1);
  EXPECT_THAT(sent<MakePlan>(2), SizeIs(1));
  EXPECT_THAT(claim(2, 1), SizeIs(1)) << "it has the plan";
  effects_.clear();
  join(0);
  enter(0);
  EXPECT_THAT(sent<StepStarted>(0), IsEmpty());
  PlanReady again = first;
  again.plan = on(2, 51);
  receive(2, again);
  EXPECT_THAT(blobs<Keep>(), ElementsAre(51));
  ASSERT_THAT(sent<StepStarted>(0), SizeIs(1));
  EXPECT_EQ(sent<StepStarted>(0).front().plan, on(2, 51));
  EXPECT_THAT(sent<StepStarted>(2), SizeIs(1)) << "it may not have opened the other in time";
}

TEST_F(LostHostTest, FailsTheStepWhenThePlanMadeAgainIsAnother) {
  make_hosts(2);
  join(1);
  enter(1);
  pass(3s);
  receive(1, PlanReady{.step = 1, .plan = on(1, 50), .shards = {{.weight = 1}}});
  join(0);
  enter(0);
  lose_host(1);
  receive(0, PlanReady{.step = 1, .plan = on(0, 51), .shards = {{}, {}}});
  EXPECT_EQ(step_failure(0).code, ErrorCode::kFailedPrecondition);
  EXPECT_THAT(step_failure(0).text, HasSubstr("2 shards instead of 1"));
  EXPECT_THAT(blobs<Release>(), ElementsAre(51));
}

TEST_F(LostHostTest, FailsTheStepWhoseInputCannotBeReadAgain) {
  make_hosts(2);
  join(0);
  enter(0);
  pass(2s);
  receive(0, PlanReady{.step = 1, .plan = on(0, 50), .shards = {{}}, .streams = {on(1, 49)}});
  lose_host(1);
  EXPECT_EQ(step_failure(0).code, ErrorCode::kDataLoss);
  EXPECT_THAT(step_failure(0).text, AllOf(HasSubstr("step 1"), HasSubstr("host 1")));
  EXPECT_THAT(blobs<Release>(), ElementsAre(50));
}

class LostResultTest : public LostHostTest {
 protected:
  /// Step 1 is done by ranks 0 and 1, its result lies on host 1; rank 2 has not come to it.
  void finish_step_one() {
    make_hosts(3);
    for (const std::uint32_t rank : {0U, 1U}) {
      join(rank);
      enter(rank);
    }
    pass(2s);
    receive(0, PlanReady{.step = 1, .plan = on(0, 50), .shards = {{}}});
    const std::vector<Lease> leases = claim(0, 1);
    EXPECT_EQ(report_here(0, 1, leases), ErrorCode::kOk);
    const std::vector<Lease> merge = claim(1, 1);
    EXPECT_EQ(report_here(1, 2, merge, Stage::kMerge), ErrorCode::kOk);
    ASSERT_THAT(sent<StepDone>(0), SizeIs(1));
  }
};

TEST_F(LostResultTest, EndsTheJobWhenARankHasYetToComeToIt) {
  finish_step_one();
  lose_host(1);
  EXPECT_EQ(job_end().code, ErrorCode::kDataLoss);
  EXPECT_THAT(job_end().text, AllOf(HasSubstr("step 1"), HasSubstr("host 1"), HasSubstr("rank 2")));
  EXPECT_THAT(sent<JobFailed>(0), SizeIs(1));
}

TEST_F(LostResultTest, DoesNotWhileNobodyNeedsIt) {
  finish_step_one();
  join(2);
  enter(2);
  lose_host(1);
  EXPECT_EQ(job_end().code, ErrorCode::kOk);
  effects_.clear();
  enter(0);
  EXPECT_THAT(sent<StepDone>(0), SizeIs(1)) << "the same process, which came to it before";
  lose(2, true);
  EXPECT_EQ(job_end().code, ErrorCode::kOk);
  join(2);
  enter(2);
  EXPECT_EQ(job_end().code, ErrorCode::kDataLoss);
  EXPECT_THAT(job_end().text, HasSubstr("rank 2 has yet to come to it"));
}

TEST_F(LostHostTest, FailuresThatMayBeItsDoNotCount) {
  make_hosts(2, {.attempt_count_max = 1, .host_patience = 60s});
  map_one_each();
  for (int again = 0; again < 5; ++again) {
    const std::vector<Lease> merge = claim(0, 1);
    ASSERT_THAT(merge, SizeIs(1));
    EXPECT_THAT(sent<MergeInputs>(0), SizeIs(1)) << "it is to open them again";
    EXPECT_EQ(merge.front().attempt, 1U);
    fail_merge(0, merge.front(), again % 2 == 0 ? ErrorCode::kUnavailable : ErrorCode::kNotFound);
    EXPECT_THAT(sent<StepFailed>(0), IsEmpty());
    pass(8s);  // The unit is kept from its rank for a lease, as another may do better.
  }
}

TEST_F(LostHostTest, FailuresThatAreNotItsCountInTheEnd) {
  make_hosts(2, {.attempt_count_max = 1, .host_patience = 10s});
  map_one_each();
  fail_merge(0, claim(0, 1).front(), ErrorCode::kNotFound);
  EXPECT_THAT(sent<StepFailed>(0), IsEmpty());
  pass(8s);
  fail_merge(0, claim(0, 1).front(), ErrorCode::kNotFound);
  EXPECT_THAT(sent<StepFailed>(0), IsEmpty());
  pass(8s);
  fail_merge(0, claim(0, 1).front(), ErrorCode::kNotFound);
  EXPECT_THAT(step_failure(0).text, HasSubstr("cannot be reached"));
}

TEST_F(LostHostTest, FailuresWithAllNearCountAtOnce) {
  make_hosts(2, {.attempt_count_max = 1});
  map_one_each();
  fail_merge(1, claim(1, 1).front(), ErrorCode::kNotFound);
  EXPECT_THAT(step_failure(1).text, HasSubstr("cannot be reached"))
      << "all lies on its own host and on the coordinator's";
}

TEST_F(LostHostTest, IsRememberedForALaterEpoch) {
  make_hosts(2, {.journaled = true});
  map_one_each();
  lose_host(1);
  const auto lost = std::find_if(effects_.begin(), effects_.end(), [](const Effect& effect) {
    const auto* persist = std::get_if<Persist>(&effect);
    return persist != nullptr &&
           persist->record == Record(BlobsLost{.step = 1, .host = 1, .epoch = 1});
  });
  ASSERT_NE(lost, effects_.end());
  EXPECT_THAT(units(claim(0, 9)), ElementsAre(1));
}

TEST_F(LostHostTest, LeavesWhatIsOfAnEarlierEpoch) {
  make_hosts(2);
  epoch_ = 2;
  coordinator_.emplace(Coordinator::restore(
      {.job = 1, .epoch = 2, .rank_count = 2, .rank_hosts = {0, 1}, .journaled = true},
      std::vector<Record>{
          StepOpened{.step = 1, .fingerprint = 5, .description = "word count"},
          StepPlanned{{.step = 1, .plan = on(1, 50), .shards = {{}, {}, {}}}},
          UnitsAccepted{.step = 1, .output = on(1, 1), .input_bytes = 10, .units = {1}}}));
  for (const std::uint32_t rank : {0U, 1U}) {
    join(rank);
    enter(rank);
  }
  const std::vector<Lease> of_1 = claim(1, 1);
  BlobHandle of_this_epoch = on(1, 2);
  of_this_epoch.epoch = 2;
  receive(1, Report{.step = 1, .report = 1, .output = of_this_epoch, .batch = of_1});
  EXPECT_EQ(coordinator_->progress().shard_accepted_count, 2U);
  lose_host(1);
  EXPECT_EQ(coordinator_->progress().shard_accepted_count, 1U);
  const std::vector<Lease> rest = claim(0, 9);
  EXPECT_THAT(units(rest), UnorderedElementsAre(0, 2));
  EXPECT_EQ(report_here(0, 3, rest), ErrorCode::kOk);
  const std::vector<Lease> merge = claim(0, 1);
  EXPECT_THAT(sent<MergeInputs>(0).at(0).partials, ElementsAre(on(0, 3), on(1, 1)));
  EXPECT_EQ(report_here(0, 4, merge, Stage::kMerge), ErrorCode::kOk);
  EXPECT_THAT(blobs<Release>(), UnorderedElementsAre(50, 1, 3)) << "the head has them";
}

}  // namespace
}  // namespace pinion::protocol
