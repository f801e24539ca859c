// Shards that are not accepted in their time.

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

class DeadlineTest : public CoordinatorTest {
 protected:
  DeadlineTest() { shard_deadline_ = 10s; }

  void extend(std::uint32_t rank, const std::vector<Lease>& leases) {
    receive(rank, Heartbeat{.step = 1, .held = leases});
  }
  /// So that no lease of the rank runs out.
  void pass_with_heartbeats(std::uint32_t rank, const std::vector<Lease>& leases, Duration time) {
    for (Duration passed = {}; passed < time; passed += 1s) {
      extend(rank, leases);
      effects_.clear();
      pass(1s);
    }
  }
};

TEST_F(DeadlineTest, IsNotExtendedByHeartbeatsAndAnotherRankIsGivenTheShard) {
  make({.rank_count = 2});
  start({1}, 1);
  const std::vector<Lease> leases = claim(0, 1);
  EXPECT_THAT(claim(1, 1), IsEmpty());
  EXPECT_LE(coordinator_->next_deadline(), now_ + 10s);
  pass_with_heartbeats(0, leases, 9s);
  EXPECT_THAT(granted(1), IsEmpty());
  extend(0, leases);
  effects_.clear();
  pass(1s);
  ASSERT_THAT(sent<HeartbeatAck>(0), SizeIs(1));
  EXPECT_EQ(sent<HeartbeatAck>(0).front().sent_ns, HeartbeatAck::kUnasked);
  EXPECT_THAT(units(sent<HeartbeatAck>(0).front().lost), ElementsAre(0));
  ASSERT_THAT(granted(1), SizeIs(1));
  EXPECT_EQ(granted(1).front().attempt, 2U);
  const std::vector<Lease> again = granted(1);
  EXPECT_EQ(coordinator_->progress().failure_count, 1U);
  EXPECT_EQ(report(0, 1, leases), ErrorCode::kAborted);
  EXPECT_EQ(report(1, 1, again), ErrorCode::kOk);
}

TEST_F(DeadlineTest, IsThatOfEachAttempt) {
  make({.rank_count = 1});
  start({1, 1}, 1);
  pass_with_heartbeats(0, claim(0, 1), 10s);
  const std::vector<Lease> again = claim(0, 2);
  ASSERT_THAT(again, SizeIs(2));
  pass_with_heartbeats(0, again, 9s);
  EXPECT_EQ(report(0, 1, again), ErrorCode::kOk);
}

TEST_F(DeadlineTest, WhatMissesItTooOftenIsGivenUpByName) {
  make({.rank_count = 1, .attempt_count_max = 2});
  start({1, 1}, 1);
  EXPECT_EQ(report(0, 1, claim(0, 1)), ErrorCode::kOk);
  pass_with_heartbeats(0, claim(0, 1), 10s);
  EXPECT_EQ(step_failure(0).code, ErrorCode::kOk);
  const std::vector<Lease> again = claim(0, 1);
  ASSERT_THAT(again, SizeIs(1));
  pass(10s);
  const Failure failure = step_failure(0);
  EXPECT_EQ(failure.code, ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(failure.text, AllOf(HasSubstr("shard 1 failed on rank 0 in attempt 2 of 2"),
                                  HasSubstr("not accepted within 10 s of its grant")));
  EXPECT_EQ(sent<StepFailed>(0).front().shard, 1U);
}

TEST_F(DeadlineTest, MayBeSkipped) {
  make({.rank_count = 1, .attempt_count_max = 1, .skip_bad = true});
  start({1}, 1);
  ASSERT_THAT(claim(0, 1), SizeIs(1));
  pass(10s);
  EXPECT_EQ(coordinator_->progress().skipped_shard_count, 1U);
  EXPECT_EQ(coordinator_->progress().stage, Stage::kMerge);
}

TEST_F(DeadlineTest, OfTwoThatTryAShardEachHasItsOwn) {
  make({.rank_count = 2, .late_least = 1s});
  shard_deadline_ = 20s;
  start({1, 1, 1, 1}, 1);
  for (std::uint64_t number = 1; number <= 3; ++number) {
    EXPECT_EQ(report(0, number, claim(0, 1)), ErrorCode::kOk);
  }
  const std::vector<Lease> late = claim(0, 1);
  EXPECT_THAT(claim(1, 1), IsEmpty());
  pass_with_heartbeats(0, late, 5s);
  ASSERT_EQ(coordinator_->progress().second_attempt_count, 1U);
  now_ += 15s;
  effects_.clear();
  step(Tick{});
  ASSERT_THAT(sent<HeartbeatAck>(0), SizeIs(1));
  EXPECT_THAT(sent<HeartbeatAck>(1), IsEmpty());
}

TEST_F(DeadlineTest, DoesNotHoldOfTheMergeStage) {
  make({.rank_count = 1});
  start({1}, 1);
  EXPECT_EQ(report(0, 1, claim(0, 1)), ErrorCode::kOk);
  const std::vector<Lease> merge = claim(0, 1);
  pass_with_heartbeats(0, merge, 60s);
  EXPECT_EQ(report(0, 2, merge, Stage::kMerge), ErrorCode::kOk);
}

}  // namespace
}  // namespace pinion::protocol
