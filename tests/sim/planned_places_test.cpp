// What a coordinator tells whoever plans of the places where ranks work.

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/protocol/coordinator.hpp>

#include "sim/coordinator_fixture.hpp"

namespace pinion::protocol {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr Place kFirst{.index = 0, .host = 0};
constexpr Place kSecond{.index = 1, .host = 0};
constexpr Place kElsewhere{.index = 0, .host = 1};

/// Ranks 0 and 1 work at a node of host 0 each, rank 2 on host 1.
class PlannedPlacesTest : public CoordinatorTest {
 protected:
  void SetUp() override { make({.rank_count = 3, .rank_hosts = {0, 0, 1}}); }

  void come(std::uint32_t rank) {
    static const std::vector<Place> places = {kFirst, kSecond, kElsewhere};
    join(rank);
    registers(rank, {places[rank]}, {rank + 1});
    enter(rank);
  }
  void all_come() {
    for (std::uint32_t rank = 0; rank < 3; ++rank) {
      come(rank);
    }
  }
  void enter_step(std::uint32_t rank, std::uint64_t number) {
    effects_.clear();
    receive(rank, EnterStep{.step = number, .fingerprint = 5, .description = "word count"});
  }
  /// Step 1, which has no shards, is done.
  void finish_step_one() {
    receive(0, PlanReady{.step = 1, .plan = blob(1000), .partition_count = 0});
    ASSERT_THAT(sent<StepDone>(0), SizeIs(1));
  }
  std::vector<PlaceWorkers> asked_of(std::uint32_t rank) const {
    const std::vector<MakePlan> asked = sent<MakePlan>(rank);
    EXPECT_THAT(asked, SizeIs(1));
    return asked.empty() ? std::vector<PlaceWorkers>() : asked.front().workers;
  }

  const std::vector<PlaceWorkers> all_ = {{kFirst, 1}, {kSecond, 2}, {kElsewhere, 3}};
};

TEST_F(PlannedPlacesTest, AreThoseOfAllRanksOnAllHosts) {
  all_come();
  EXPECT_EQ(asked_of(0), all_);
}

TEST_F(PlannedPlacesTest, AreAddedUpWhereRanksShareThem) {
  make({.rank_count = 3});
  for (std::uint32_t rank = 0; rank < 3; ++rank) {
    join(rank);
  }
  registers(2, {kElsewhere, kFirst}, {5, 6});
  registers(1, {kSecond, kFirst});
  registers(0, {kFirst}, {7});
  enter(0);
  EXPECT_THAT(asked_of(0), ElementsAre(PlaceWorkers{kFirst, 14}, PlaceWorkers{kSecond, 1},
                                       PlaceWorkers{kElsewhere, 5}));
}

TEST_F(PlannedPlacesTest, AreTheSameForWhoeverPlansFirst) {
  come(2);
  come(1);
  pass(1s);
  EXPECT_THAT(sent<MakePlan>(1), IsEmpty());
  join(0);
  registers(0, {kFirst}, {1});
  pass(1s);
  EXPECT_EQ(asked_of(1), all_) << "rank 0 is slow to enter";
}

TEST_F(PlannedPlacesTest, AreWaitedForBeforeTheFirstPlanButNotForLong) {
  come(0);
  come(1);
  EXPECT_EQ(coordinator_->next_deadline(), now_ + 2s);
  pass(1s);
  EXPECT_THAT(sent<MakePlan>(0), IsEmpty());
  pass(1s);
  EXPECT_THAT(asked_of(0), ElementsAre(PlaceWorkers{kFirst, 1}, PlaceWorkers{kSecond, 2}));
}

TEST_F(PlannedPlacesTest, AreNotWaitedForWhereARankIsGoneForGood) {
  come(0);
  come(1);
  join(2);
  EXPECT_THAT(sent<MakePlan>(0), IsEmpty());
  lose(2, false);
  EXPECT_THAT(asked_of(0), SizeIs(2));
}

TEST_F(PlannedPlacesTest, AreNotWaitedForWhereARankGetsNothingMore) {
  come(0);
  come(1);
  join(2);
  EXPECT_THAT(sent<MakePlan>(0), IsEmpty());
  receive(2, Drain{});
  EXPECT_THAT(asked_of(0), SizeIs(2));
}

TEST_F(PlannedPlacesTest, AreWaitedForNoLongerWhereTheFirstStepHadNoPlan) {
  come(0);
  pass(1900ms);
  join(1);
  registers(1, {kSecond});
  receive(1, EnterStep{.step = 1, .fingerprint = 6, .description = "another"});
  ASSERT_THAT(sent<StepFailed>(0), SizeIs(1));
  enter_step(0, 2);
  EXPECT_EQ(coordinator_->next_deadline(), now_ + 100ms);
  pass(100ms);
  EXPECT_THAT(asked_of(0), SizeIs(2));
}

TEST_F(PlannedPlacesTest, AreNotWaitedForBeforeALaterPlan) {
  come(0);
  come(1);
  pass(2s);
  finish_step_one();
  enter_step(0, 2);
  EXPECT_THAT(asked_of(0), SizeIs(2)) << "rank 2 may never come";
}

TEST_F(PlannedPlacesTest, AreThoseOfARankThatIsBeingStartedAgainToo) {
  all_come();
  finish_step_one();
  lose(1, true);
  enter_step(0, 2);
  EXPECT_EQ(asked_of(0), all_);
  receive(0, PlanReady{.step = 2, .plan = blob(1001), .partition_count = 0});
  join(1);
  enter_step(0, 3);
  EXPECT_EQ(asked_of(0), all_) << "it has yet to say where it works";
}

TEST_F(PlannedPlacesTest, AreWithoutRanksThatGetNothingMore) {
  all_come();
  finish_step_one();
  lose(1, false);
  receive(2, Drain{});
  enter_step(0, 2);
  EXPECT_THAT(asked_of(0), ElementsAre(PlaceWorkers{kFirst, 1}));
}

TEST_F(PlannedPlacesTest, AreThoseOfRanksThatDrainWhereThereAreNoOthers) {
  join(0);
  registers(0, {kFirst}, {1});
  receive(0, Drain{});
  enter(0);
  pass(2s);
  EXPECT_THAT(asked_of(0), ElementsAre(PlaceWorkers{kFirst, 1}));
}

TEST_F(PlannedPlacesTest, AreTheSameWhenAnotherRankPlansInPlaceOfADeadOne) {
  all_come();
  effects_.clear();
  lose(0, false);
  EXPECT_EQ(asked_of(1), all_);
}

TEST_F(PlannedPlacesTest, AreTheSameWhenThePlanIsLostWithItsHost) {
  come(2);
  join(0);
  registers(0, {kFirst}, {1});
  join(1);
  registers(1, {kSecond}, {2});
  pass(2s);
  EXPECT_EQ(asked_of(2), all_);
  const BlobHandle plan{.job = 1, .generation = 7, .epoch = 1, .host = 1};
  receive(2, PlanReady{.step = 1, .plan = plan, .shards = {{}}});
  effects_.clear();
  step(HostLost{.host = 1, .reason = "its power failed"});
  enter(0);
  EXPECT_EQ(asked_of(0), all_) << "what is made again has to be the same";
}

}  // namespace
}  // namespace pinion::protocol
