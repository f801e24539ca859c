#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/protocol/coordinator.hpp>

#include "sim/coordinator_fixture.hpp"

namespace pinion::protocol {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// A step of which all shards are accepted but those that rank 0 holds, and nothing waits. Each of
/// the accepted took a second.
class SecondAttemptTest : public CoordinatorTest {
 protected:
  void leave_to_rank_0(std::uint32_t rank_count, std::uint32_t left_count) {
    make({.rank_count = rank_count});
    constexpr std::uint32_t kOfOthers = 4;
    start(std::vector<std::uint64_t>(kOfOthers + left_count, 1), 1);
    for (std::uint32_t i = 0; i < kOfOthers; ++i) {
      const std::vector<Lease> leases = claim(1, 1);
      pass(1s);
      ASSERT_EQ(report(1, ++report_count_, leases), ErrorCode::kOk);
    }
    for (std::uint32_t rank = 1; rank < rank_count; ++rank) {
      lose(rank, true);  // So that nothing of the rest is left for them.
    }
    pass(2s);
    left_ = claim(0, left_count);
    ASSERT_THAT(left_, SizeIs(left_count));
    for (std::uint32_t rank = 1; rank < rank_count; ++rank) {
      join(rank);
      enter(rank);
    }
    EXPECT_THAT(claim(1, 4), IsEmpty());
  }
  void extend() { receive(0, Heartbeat{.step = 1, .held = left_}); }
  /// Time goes on until another rank is given what rank 0 is late with.
  std::vector<Lease> wait_for_second(std::uint32_t rank) {
    effects_.clear();
    for (int i = 0; i < 100 && granted(rank).empty(); ++i) {
      effects_.clear();
      extend();
      pass(100ms);
    }
    return granted(rank);
  }

  std::vector<Lease> left_;
  std::uint64_t report_count_ = 100;
};

TEST_F(SecondAttemptTest, IsGrantedWhenNothingWaitsAndALeaseIsLate) {
  leave_to_rank_0(2, 1);
  EXPECT_THAT(granted(1), IsEmpty());
  // Half as long again as the second that the others took, up to an eighth more.
  EXPECT_GE(coordinator_->next_deadline(), now_ + 1500ms);
  EXPECT_LE(coordinator_->next_deadline(), now_ + 1700ms);
  const std::vector<Lease> second = wait_for_second(1);
  ASSERT_THAT(units(second), ElementsAre(left_[0].unit));
  EXPECT_TRUE(sent<Grant>(1).front().second_attempt);
  EXPECT_GT(second[0].fence, left_[0].fence);
  EXPECT_EQ(second[0].attempt, 1U);
  EXPECT_EQ(coordinator_->progress().second_attempt_count, 1U);
}

TEST_F(SecondAttemptTest, TheFirstReportWinsWhoeverMakesIt) {
  for (const std::uint32_t winner : {0U, 1U}) {
    leave_to_rank_0(2, 1);
    const std::vector<Lease> second = wait_for_second(1);
    ASSERT_THAT(second, SizeIs(1));
    const std::uint32_t loser = 1 - winner;
    EXPECT_EQ(report(winner, 1, winner == 0 ? left_ : second), ErrorCode::kOk);
    EXPECT_THAT(blobs<Keep>(), ElementsAre(1));
    EXPECT_EQ(report(loser, 2, loser == 0 ? left_ : second), ErrorCode::kAlreadyExists);
    EXPECT_THAT(blobs<Keep>(), IsEmpty());
    EXPECT_EQ(coordinator_->progress().failure_count, 0U);
  }
}

TEST_F(SecondAttemptTest, TellsTheLoserByItsHeartbeat) {
  leave_to_rank_0(2, 2);
  const std::vector<Lease> second = wait_for_second(1);
  ASSERT_THAT(second, SizeIs(1));
  EXPECT_EQ(report(1, 1, second), ErrorCode::kOk);
  effects_.clear();
  extend();
  ASSERT_THAT(sent<HeartbeatAck>(0), SizeIs(1));
  EXPECT_THAT(units(sent<HeartbeatAck>(0).front().lost), ElementsAre(second[0].unit));
}

TEST_F(SecondAttemptTest, GrantsTheOtherShardsOfARefusedBatchAgainAsTheyWere) {
  leave_to_rank_0(2, 2);
  const std::vector<Lease> second = wait_for_second(1);
  ASSERT_THAT(second, SizeIs(1));
  EXPECT_EQ(report(1, 1, second), ErrorCode::kOk);
  EXPECT_EQ(report(0, 2, left_), ErrorCode::kAlreadyExists);
  const std::vector<Lease> again = claim(0, 2);
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_NE(again[0].unit, second[0].unit);
  EXPECT_EQ(again[0].attempt, 1U);
  EXPECT_EQ(coordinator_->progress().failure_count, 0U);
}

TEST_F(SecondAttemptTest, IsNotGrantedToMoreThanATenthOfTheRanks) {
  leave_to_rank_0(3, 3);
  const std::vector<Lease> second = wait_for_second(1);
  ASSERT_THAT(second, SizeIs(1));
  EXPECT_THAT(claim(2, 1), IsEmpty());
  pass(1s);
  EXPECT_THAT(granted(2), IsEmpty());
  EXPECT_EQ(report(1, 1, second), ErrorCode::kOk);
  EXPECT_THAT(granted(2), SizeIs(1));
}

TEST_F(SecondAttemptTest, EndsWithTheDeathOfOneOfTheTwo) {
  leave_to_rank_0(2, 1);
  const std::vector<Lease> second = wait_for_second(1);
  ASSERT_THAT(second, SizeIs(1));
  lose(0, true);
  EXPECT_EQ(report(1, 1, second), ErrorCode::kOk);
  EXPECT_EQ(coordinator_->progress().shard_accepted_count, 5U);
}

TEST_F(SecondAttemptTest, IsGrantedAnewWhenTheHelperDies) {
  leave_to_rank_0(3, 1);
  EXPECT_THAT(claim(2, 1), IsEmpty());
  ASSERT_THAT(wait_for_second(1), SizeIs(1));
  EXPECT_THAT(granted(2), IsEmpty());
  effects_.clear();
  lose(1, true);
  EXPECT_THAT(units(granted(2)), ElementsAre(left_[0].unit));
  EXPECT_TRUE(sent<Grant>(2).front().second_attempt);
}

TEST_F(SecondAttemptTest, SaysWhenTheTwoOutputsDiffer) {
  for (const std::uint64_t digest : {7U, 8U}) {
    leave_to_rank_0(2, 1);
    const std::vector<Lease> second = wait_for_second(1);
    ASSERT_THAT(second, SizeIs(1));
    // One partition keeps the step open.
    EXPECT_EQ(report(1, 1, second, Stage::kMap, 7), ErrorCode::kOk);
    EXPECT_EQ(report(0, 2, left_, Stage::kMap, digest), ErrorCode::kAlreadyExists);
    if (digest == 7) {
      EXPECT_THAT(observations(), IsEmpty());
    } else {
      ASSERT_THAT(observations(), SizeIs(1));
      EXPECT_THAT(observations().front(),
                  HasSubstr("gave one output on rank 1 and another on rank 0"));
    }
  }
}

TEST_F(SecondAttemptTest, CanBeSwitchedOff) {
  make({.rank_count = 2, .second_attempts = false});
  start({1, 1, 1, 1, 1, 1}, 1);
  left_ = claim(0, 1);
  while (true) {
    const std::vector<Lease> rest = claim(1, 1);
    if (rest.empty()) {
      break;
    }
    EXPECT_EQ(report(1, ++report_count_, rest), ErrorCode::kOk);
  }
  EXPECT_THAT(wait_for_second(1), IsEmpty());
}

}  // namespace
}  // namespace pinion::protocol
