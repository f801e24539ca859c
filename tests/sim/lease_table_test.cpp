#include "protocol/lease_table.hpp"

#include <cstdint>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion::protocol {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr Duration kLease = 6s;

class LeaseTableTest : public testing::Test {
 protected:
  void make(std::size_t unit_count) { table_ = LeaseTable(std::vector<UnitTraits>(unit_count), 3); }
  std::vector<Lease> grant(std::uint32_t rank, std::uint64_t unit_count) {
    std::vector<Lease> leases;
    table_.grant(holder(rank),
                 {.unit_count_max = unit_count, .now = now_, .expires = now_ + kLease}, fences_,
                 leases);
    return leases;
  }
  static Holder holder(std::uint32_t rank) { return {.rank = rank, .incarnation = 1}; }
  LeaseTable::Slot find(std::uint32_t rank, const Lease& lease) const {
    return table_.find(lease, holder(rank));
  }
  Standing standing(std::uint32_t rank, const Lease& lease) const {
    return table_.standing(lease, holder(rank));
  }
  Lease second(std::uint32_t rank, LeaseTable::Slot first) {
    return table_.grant_second(first, holder(rank), {.now = now_, .expires = now_ + kLease},
                               fences_);
  }
  std::uint32_t leased_count() const {
    return table_.leased_count_of(0) + table_.leased_count_of(1) + table_.leased_count_of(2);
  }
  std::vector<std::uint32_t> pass(Duration time) {
    std::vector<std::uint32_t> ranks;
    now_ += time;
    table_.expire(now_, ranks);
    return ranks;
  }

  FenceSource fences_{.epoch = 1};
  Instant now_{100s};
  LeaseTable table_;
};

TEST_F(LeaseTableTest, FindsALeaseByItsFenceAndNoOther) {
  make(3);
  const std::vector<Lease> leases = grant(0, 2);
  ASSERT_THAT(leases, SizeIs(2));
  EXPECT_NE(find(0, leases[0]), LeaseTable::kNone);
  EXPECT_EQ(find(1, leases[0]), LeaseTable::kNone);
  EXPECT_EQ(table_.find(leases[0], {.rank = 0, .incarnation = 2}), LeaseTable::kNone);
  Lease other = leases[0];
  other.unit = 1;
  EXPECT_EQ(find(0, other), LeaseTable::kNone);
  other = leases[0];
  other.fence.counter ^= std::uint64_t{1} << FenceSource::kSlotBits;
  EXPECT_EQ(find(0, other), LeaseTable::kNone);
  other.fence.counter = ~std::uint64_t{0};
  EXPECT_EQ(find(0, other), LeaseTable::kNone);
  EXPECT_EQ(standing(0, {.unit = 9}), Standing::kForeign);
}

TEST_F(LeaseTableTest, GivesEachGrantAGreaterFenceWhicheverRecordItHas) {
  make(2);
  const std::vector<Lease> first = grant(0, 2);
  ASSERT_THAT(first, SizeIs(2));
  Fence newest = first[1].fence;
  for (int i = 0; i < 10; ++i) {
    // The older record is used again, and its number is the lower one.
    table_.give_back(find(0, i == 0 ? first[0] : Lease{.unit = 0, .fence = newest}));
    const std::vector<Lease> again = grant(0, 1);
    ASSERT_THAT(again, SizeIs(1));
    EXPECT_GT(again[0].fence, newest);
    newest = again[0].fence;
  }
}

TEST_F(LeaseTableTest, LetsLeasesRunOutInTheOrderOfTheirTimes) {
  make(3);
  const std::vector<Lease> leases = grant(0, 1);
  now_ += 1s;
  const std::vector<Lease> later = grant(1, 1);
  EXPECT_EQ(table_.next_deadline(), Instant(100s) + kLease);
  now_ += 1s;
  table_.extend(find(0, leases[0]), now_ + kLease);
  EXPECT_EQ(table_.next_deadline(), Instant(101s) + kLease);
  EXPECT_THAT(pass(5s), ElementsAre(1));
  EXPECT_THAT(pass(1s), ElementsAre(0));
  EXPECT_EQ(table_.next_deadline(), Instant::max());
  EXPECT_EQ(table_.waiting_count(), 3U);
}

TEST_F(LeaseTableTest, KeepsWhatRanOutForItsHolderUntilTheNextGrant) {
  make(1);
  const std::vector<Lease> leases = grant(0, 1);
  pass(kLease);
  EXPECT_EQ(leased_count(), 0U);
  EXPECT_EQ(standing(0, leases[0]), Standing::kHeld);
  table_.extend(find(0, leases[0]), now_ + kLease);
  EXPECT_EQ(table_.waiting_count(), 0U);
  EXPECT_EQ(table_.leased_count_of(0), 1U);
  pass(kLease);
  EXPECT_THAT(grant(1, 1), SizeIs(1));
  EXPECT_EQ(standing(0, leases[0]), Standing::kForeign);
}

TEST_F(LeaseTableTest, AcceptsWhatRanOut) {
  make(1);
  const std::vector<Lease> leases = grant(0, 1);
  pass(kLease);
  table_.accept(find(0, leases[0]), now_);
  EXPECT_TRUE(table_.all_settled());
  EXPECT_EQ(table_.waiting_count(), 0U);
  EXPECT_THAT(grant(1, 1), IsEmpty());
  EXPECT_EQ(standing(0, leases[0]), Standing::kAccepted);
}

TEST_F(LeaseTableTest, TakesFromADeadRankOnlyWhatItHolds) {
  make(6);
  const std::vector<Lease> of_0 = grant(0, 2);
  const std::vector<Lease> of_1 = grant(1, 2);
  table_.accept(find(0, of_0[0]), now_);
  std::vector<std::uint64_t> units;
  table_.abandon(0, units);
  EXPECT_THAT(units, ElementsAre(of_0[1].unit));
  EXPECT_EQ(table_.leased_count_of(0), 0U);
  EXPECT_EQ(table_.leased_count_of(1), 2U);
  EXPECT_EQ(standing(1, of_1[0]), Standing::kHeld);
}

TEST_F(LeaseTableTest, CountsADeathOnlyAgainstAUnitThatWasHeldAlone) {
  make(3);
  ASSERT_THAT(grant(0, 2), SizeIs(2));
  std::vector<std::uint64_t> units;
  table_.abandon(0, units);
  ASSERT_THAT(units, ElementsAre(0, 1));
  EXPECT_EQ(table_.trouble_of(0)->death_count, 1U);
  EXPECT_EQ(table_.trouble_of(0)->alone_death_count, 0U);
  EXPECT_TRUE(table_.trouble_of(0)->suspect);
  // Suspects are run alone, and before what is not.
  ASSERT_THAT(grant(0, 3), SizeIs(1));
  EXPECT_THAT(grant(0, 3), IsEmpty());
  units.clear();
  table_.abandon(0, units);
  ASSERT_THAT(units, ElementsAre(0));
  EXPECT_EQ(table_.trouble_of(0)->death_count, 2U);
  EXPECT_EQ(table_.trouble_of(0)->alone_death_count, 1U);
  EXPECT_EQ(table_.trouble_of(1)->alone_death_count, 0U);
}

TEST_F(LeaseTableTest, KeepsAFailedUnitFromItsRankAndFromAllUntilItsTime) {
  make(1);
  const std::vector<Lease> leases = grant(0, 1);
  table_.fail(find(0, leases[0]), {.kept_until = now_ + 5s, .ready_at = now_ + 2s, .now = now_},
              {.code = ErrorCode::kUnknown, .text = "boom"});
  EXPECT_EQ(table_.waiting_count(), 0U);
  EXPECT_EQ(table_.next_deadline(), now_ + 2s);
  EXPECT_THAT(grant(1, 1), IsEmpty());
  pass(2s);
  EXPECT_THAT(grant(0, 1), IsEmpty());
  const std::uint64_t returns = table_.return_count();
  EXPECT_EQ(table_.next_deadline(), now_ + 3s);
  pass(3s);
  EXPECT_GT(table_.return_count(), returns);
  const std::vector<Lease> again = grant(0, 1);
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_EQ(again[0].attempt, 2U);
}

TEST_F(LeaseTableTest, HasTwoHoldersOfASecondAttemptAndTheFirstReportEndsBoth) {
  make(1);
  const std::vector<Lease> first = grant(0, 1);
  const Lease other = second(1, find(0, first[0]));
  EXPECT_GT(other.fence, first[0].fence);
  EXPECT_EQ(other.attempt, 1U);
  EXPECT_EQ(table_.second_lease_count(), 1U);
  EXPECT_EQ(standing(0, first[0]), Standing::kHeld);
  EXPECT_EQ(standing(1, other), Standing::kHeld);
  table_.accept(find(1, other), now_);
  EXPECT_EQ(standing(0, first[0]), Standing::kAccepted);
  EXPECT_TRUE(table_.all_settled());
  EXPECT_EQ(leased_count(), 0U);
  EXPECT_EQ(table_.second_lease_count(), 0U);
  EXPECT_EQ(table_.next_deadline(), Instant::max());
}

TEST_F(LeaseTableTest, LeavesTheUnitWithTheOtherHolderWhenOneOfTwoEnds) {
  for (const int way : {0, 1, 2, 3}) {
    SCOPED_TRACE(way);
    make(1);
    const std::vector<Lease> first = grant(0, 1);
    const Lease other = second(1, find(0, first[0]));
    std::vector<std::uint64_t> units;
    if (way == 0) {
      table_.give_back(find(0, first[0]));
    } else if (way == 1) {
      table_.abandon(0, units);
    } else if (way == 2) {
      table_.fail(find(0, first[0]), {.kept_until = now_, .ready_at = now_, .now = now_}, {});
    } else {
      now_ += 1s;
      table_.extend(find(1, other), now_ + kLease);
      EXPECT_THAT(pass(kLease - 1s), ElementsAre(0));
    }
    EXPECT_EQ(table_.waiting_count(), 0U);
    EXPECT_EQ(standing(0, first[0]), Standing::kForeign);
    EXPECT_EQ(standing(1, other), Standing::kHeld);
    EXPECT_EQ(table_.second_lease_count(), 0U);
    table_.give_back(find(1, other));
    EXPECT_EQ(table_.waiting_count(), 1U);
  }
}

TEST_F(LeaseTableTest, FindsWhoIsLateForItsWeight) {
  std::vector<UnitTraits> units(5, {.weight = 10});
  units[0].weight = 100;
  table_ = LeaseTable(units, 3);
  const std::vector<Lease> leases = grant(0, 5);
  ASSERT_EQ(leases[0].unit, 0U);
  EXPECT_EQ(table_.find_straggler(1, now_ + 1h, 1ms).slot, LeaseTable::kNone)
      << "nothing has ended to compare with";
  now_ += 1s;
  for (const std::size_t index : {1U, 2U, 3U}) {
    table_.accept(find(0, leases[index]), now_);
  }
  // Those of weight 10 took a second each, so half as long again is a second and a half, up to an
  // eighth more, and ten times that for a weight of 100.
  const LeaseTable::Straggler none = table_.find_straggler(1, now_ + 400ms, 1ms);
  EXPECT_EQ(none.slot, LeaseTable::kNone);
  EXPECT_GE(none.next, Instant(100s) + 1500ms);
  EXPECT_LE(none.next, Instant(100s) + 1700ms);
  EXPECT_EQ(table_.find_straggler(1, none.next, 1ms).slot, find(0, leases[4]));
  EXPECT_EQ(table_.find_straggler(0, none.next, 1ms).slot, LeaseTable::kNone) << "its own";
  EXPECT_EQ(table_.find_straggler(1, none.next, 1min).slot, LeaseTable::kNone) << "too early";
  table_.accept(find(0, leases[4]), now_);
  EXPECT_EQ(table_.find_straggler(1, Instant(114s), 1ms).slot, LeaseTable::kNone);
  EXPECT_EQ(table_.find_straggler(1, Instant(118s), 1ms).slot, find(0, leases[0]));
}

TEST_F(LeaseTableTest, GivesUpAUnitWhateverStateItIsIn) {
  for (const int way : {0, 1, 2, 3}) {
    SCOPED_TRACE(way);
    make(2);
    std::vector<Lease> leases;
    if (way > 0) {
      leases = grant(0, 1);
    }
    if (way == 2) {
      second(1, find(0, leases[0]));
    } else if (way == 3) {
      pass(kLease);
    }
    table_.give_up(0);
    EXPECT_EQ(table_.open_count(), 1U);
    EXPECT_EQ(leased_count(), 0U);
    const std::vector<Lease> rest = grant(2, 2);
    ASSERT_THAT(rest, SizeIs(1));
    EXPECT_EQ(rest[0].unit, 1U);
    table_.accept(find(2, rest[0]), now_);
    EXPECT_TRUE(table_.all_settled());
    if (!leases.empty()) {
      EXPECT_EQ(standing(0, leases[0]), Standing::kForeign);
    }
  }
}

TEST_F(LeaseTableTest, RunsOneUnitAloneWhenAllOthersAreGivenUp) {
  make(5);
  table_.give_up_all_but(3);
  const std::vector<Lease> leases = grant(0, 5);
  ASSERT_THAT(leases, SizeIs(1));
  EXPECT_EQ(leases[0].unit, 3U);
  table_.accept(find(0, leases[0]), now_);
  EXPECT_TRUE(table_.all_settled());
}

TEST_F(LeaseTableTest, KnowsTheNextDeadlineBehindThatOfALeaseThatWasReplaced) {
  make(2);
  table_.set_deadline(10s);
  static_cast<void>(grant(0, 1));
  now_ += 1s;
  const Lease other = grant(1, 1).front();
  const Instant due = now_ + 10s;
  pass(kLease);
  table_.extend(find(1, other), now_ + 60s);
  ASSERT_THAT(grant(2, 1), SizeIs(1)) << "what the first had is replaced";
  EXPECT_EQ(table_.next_deadline(), due);
  now_ = due;
  EXPECT_EQ(table_.find_overdue(now_), find(1, other));
}

TEST_F(LeaseTableTest, IsNeverOverdueWithADeadlineThatLiesBeyondAllTime) {
  make(1);
  table_.set_deadline(Duration::max());
  grant(0, 1);
  EXPECT_EQ(table_.next_deadline(), now_ + kLease);
  EXPECT_EQ(table_.find_overdue(now_ + 1h), LeaseTable::kNone);
}

}  // namespace
}  // namespace pinion::protocol
