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

constexpr Place kFirst{.index = 0, .host = 0};
constexpr Place kSecond{.index = 1, .host = 0};
constexpr Place kElsewhere{.index = 0, .host = 1};
constexpr Place kGpu{.kind = PlaceKind::kDevice, .index = 0, .host = 0};

class MembershipTest : public CoordinatorTest {
 protected:
  ErrorCode registered(std::uint32_t rank) const {
    const std::vector<Registered> answers = sent<Registered>(rank);
    EXPECT_THAT(answers, SizeIs(1));
    return answers.empty() ? ErrorCode::kInternal : answers.front().failure.code;
  }
};

TEST_F(MembershipTest, SaysOfEachRankWhereItStandsAndWhy) {
  make({.rank_count = 5});
  EXPECT_EQ(member(0).state, MemberState::kDisconnected);
  EXPECT_THAT(member(0).reason, HasSubstr("not joined"));
  for (std::uint32_t rank = 0; rank < 5; ++rank) {
    join(rank);
  }
  EXPECT_EQ(member(0).state, MemberState::kAlive);
  lose(1, true);
  EXPECT_EQ(member(1).state, MemberState::kDisconnected);
  EXPECT_THAT(member(1).reason, HasSubstr("signal 9; it is being started again"));
  now_ += 1s;
  lose(2, false);
  EXPECT_EQ(member(2).state, MemberState::kGone);
  EXPECT_EQ(member(2).reason, "signal 9");
  EXPECT_EQ(member(2).since, now_);
  receive(3, Leave{.reason = "the node is wanted"});
  EXPECT_EQ(member(3).state, MemberState::kDrained);
  EXPECT_EQ(member(3).reason, "the node is wanted");
  receive(4, Drain{.reason = "too hot"});
  EXPECT_EQ(member(4).state, MemberState::kDrained);
  EXPECT_THAT(member(4).reason, HasSubstr("too hot"));
}

TEST_F(MembershipTest, SuspectsARankWhoseLeaseRanOutUntilItIsHeard) {
  make({.rank_count = 2});
  start({1, 1}, 1);
  const std::vector<Lease> leases = claim(0, 1);
  pass(7s);
  EXPECT_EQ(member(0).state, MemberState::kSuspect);
  EXPECT_THAT(member(0).reason, HasSubstr("a lease of step 1 ran out"));
  EXPECT_EQ(member(0).since, now_);
  now_ += 1s;
  receive(0, Heartbeat{.step = 1,
                       .held = leases,
                       .unit_count_done = 5,
                       .input_bytes = 6,
                       .observations = {"the disk is slow"}});
  EXPECT_EQ(member(0).state, MemberState::kAlive);
  EXPECT_EQ(member(0).lease_count, 1U);
  EXPECT_EQ(member(0).unit_count_done, 5U);
  EXPECT_EQ(member(0).input_bytes, 6U);
  EXPECT_THAT(observations(), ElementsAre("rank 0: the disk is slow"));
}

TEST_F(MembershipTest, RegistersAProcessAndRemembersWhatItSays) {
  make({.rank_count = 1});
  join(0);
  registers(0, {kFirst});
  EXPECT_EQ(registered(0), ErrorCode::kOk);
  EXPECT_EQ(sent<Registered>(0).front().lease_duration, Duration(6s));
  EXPECT_TRUE(member(0).registered);
  EXPECT_THAT(member(0).registration.places, ElementsAre(kFirst));
  effects_.clear();
  registers(0, {kFirst});
  EXPECT_EQ(registered(0), ErrorCode::kOk);
}

TEST_F(MembershipTest, RefusesASecondProcessUnderTheSameNameAndAnotherProtocol) {
  make({.rank_count = 1});
  join(0);
  registers(0, {});
  effects_.clear();
  receive(0, Register{.process = {.high = 9, .low = 9}, .protocol_version = 1});
  EXPECT_EQ(registered(0), ErrorCode::kAlreadyExists);
  EXPECT_THAT(sent<Registered>(0).front().failure.text,
              HasSubstr("rank 0, life 1, is process 00000000000000010000000000000000 already"));
  effects_.clear();
  receive(0, Register{.process = {.high = 1}, .protocol_version = 2});
  EXPECT_EQ(registered(0), ErrorCode::kUnimplemented);
  EXPECT_THAT(sent<Registered>(0).front().failure.text, HasSubstr("version 2, the job version 1"));
}

TEST_F(MembershipTest, AHigherIncarnationThatRegistersFencesOffTheOlder) {
  make({.rank_count = 1});
  start({1, 1}, 1);
  const std::vector<Lease> leases = claim(0, 1);
  ++incarnations_[0];
  registers(0, {kFirst});
  EXPECT_EQ(registered(0), ErrorCode::kOk);
  EXPECT_EQ(member(0).incarnation, 2U);
  effects_.clear();
  const Envelope older{.job = 1, .epoch = 1, .rank = 0, .incarnation = 1};
  step(MessageReceived{older, Report{.step = 1, .report = 1, .output = blob(1), .batch = leases}});
  step(MessageReceived{older, Register{.process = {.high = 1}, .protocol_version = 1}});
  EXPECT_THAT(effects_, IsEmpty());
  EXPECT_EQ(member(0).incarnation, 2U);
}

TEST_F(MembershipTest, GrantsADrainingRankNothingMoreAndTellsItWhenItHoldsNothing) {
  make({.rank_count = 2});
  start({1, 1, 1, 1}, 1);
  const std::vector<Lease> leases = claim(0, 2);
  ASSERT_THAT(leases, SizeIs(2));
  effects_.clear();
  receive(0, Drain{});
  EXPECT_THAT(sent<Drained>(0), IsEmpty());
  EXPECT_EQ(member(0).state, MemberState::kAlive);
  EXPECT_THAT(member(0).reason, HasSubstr("finishes what it holds"));
  EXPECT_EQ(report(0, 1, {leases[0]}), ErrorCode::kOk);
  EXPECT_THAT(claim(0, 4), IsEmpty());
  // What waits is the other's alone.
  EXPECT_THAT(claim_all(1), SizeIs(2));
  effects_.clear();
  receive(0, GiveBack{.step = 1, .leases = {leases[1]}});
  EXPECT_THAT(sent<Drained>(0), SizeIs(1));
  EXPECT_EQ(member(0).state, MemberState::kDrained);
  EXPECT_THAT(claim(0, 4), IsEmpty());
  EXPECT_THAT(claim_all(1), SizeIs(1));
}

TEST_F(MembershipTest, EndsTheJobWhenEveryRankDrains) {
  make({.rank_count = 1});
  start({1, 1}, 1);
  const std::vector<Lease> leases = claim(0, 1);
  receive(0, Drain{.reason = "the node is wanted"});
  EXPECT_EQ(member(0).state, MemberState::kAlive);
  EXPECT_EQ(report(0, 1, leases), ErrorCode::kOk);
  ASSERT_TRUE(std::holds_alternative<EndJob>(effects_.back()));
  EXPECT_THAT(std::get<EndJob>(effects_.back()).failure.text, HasSubstr("the node is wanted"));
}

TEST_F(MembershipTest, GrantsNearShardsFirstThenThoseOfTheHostThenAny) {
  make({.rank_count = 3});
  start_placed({{kFirst}, {kSecond}, {kElsewhere}}, {{.weight = 9, .place = kElsewhere},
                                                     {.weight = 1, .place = kFirst},
                                                     {.weight = 2, .place = kFirst},
                                                     {.weight = 7, .place = kSecond},
                                                     {.weight = 8, .place = kElsewhere}});
  EXPECT_THAT(units(claim(0, 1)), ElementsAre(2));
  lose(1, false);
  lose(2, false);
  pass(2s);
  EXPECT_THAT(units(claim(0, 4)), ElementsAre(1, 3, 0, 4));
}

TEST_F(MembershipTest, GrantsHigherPrioritiesBeforeWhatIsNearOrHeavy) {
  make({.rank_count = 1});
  start_placed({{kFirst}}, {{.weight = 9, .place = kFirst},
                            {.weight = 5, .place = kFirst, .priority = Priority::kLow},
                            {.weight = 1, .place = kElsewhere, .priority = Priority::kHigh}});
  EXPECT_THAT(units(claim(0, 3)), ElementsAre(2, 0, 1));
}

TEST_F(MembershipTest, GivesARankWithoutADeviceOnlyWhatHasABodyForTheCpu) {
  make({.rank_count = 2});
  start_placed({{kFirst}, {kSecond, kGpu}}, {{.weight = 9, .place = kGpu, .has_cpu_body = false},
                                             {.weight = 1, .place = kGpu},
                                             {.weight = 2, .place = kGpu, .has_cpu_body = false}});
  EXPECT_THAT(units(claim_all(0)), ElementsAre(1));
  EXPECT_THAT(claim_all(0), IsEmpty());
  EXPECT_THAT(units(claim_all(1)), ElementsAre(0, 2));
}

TEST_F(MembershipTest, FailsAStepForWhichNoRankHasTheDevice) {
  make({.rank_count = 2});
  start_placed({{kFirst}, {kSecond, kGpu}}, {{.place = kGpu, .has_cpu_body = false}});
  EXPECT_EQ(step_failure(0).code, ErrorCode::kOk);
  lose(1, true);
  EXPECT_EQ(step_failure(0).code, ErrorCode::kOk);
  lose(1, false);
  EXPECT_EQ(step_failure(0).code, ErrorCode::kFailedPrecondition);
  EXPECT_THAT(step_failure(0).text, HasSubstr("no rank of the job has one"));
}

}  // namespace
}  // namespace pinion::protocol
