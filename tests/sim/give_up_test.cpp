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

class GiveUpTest : public CoordinatorTest {
 protected:
  /// The rank claims one shard, once it is given one, and fails it.
  void fail_once(std::uint32_t rank, ErrorCode code = ErrorCode::kUnknown) {
    std::vector<Lease> leases = claim(rank, 1);
    for (int i = 0; leases.empty() && i < 100; ++i) {
      pass(1s);
      leases = granted(rank);
    }
    ASSERT_THAT(leases, SizeIs(1));
    fail(rank, leases, leases.front().unit, code);
  }
};

TEST_F(GiveUpTest, WaitsLongerAfterEachFailureAndAlikeInEveryRun) {
  retry_delay_max_ = 1s;
  std::vector<Duration> first_delays;
  for (int run = 0; run < 2; ++run) {
    make({.rank_count = 1, .seed = 5, .attempt_count_max = 10});
    start({1}, 1);
    pass(3s);  // Beyond the time in which other ranks are waited for.
    std::vector<Duration> delays;
    for (int failure = 0; failure < 4; ++failure) {
      fail_once(0);
      EXPECT_THAT(claim(0, 1), IsEmpty());
      delays.push_back(coordinator_->next_deadline() - now_);
      EXPECT_LE(delays.back(), Duration(1s * (1 << failure)));
      pass(delays.back() - 1ns);
      EXPECT_THAT(granted(0), IsEmpty());
      pass(1ns);
      ASSERT_THAT(granted(0), SizeIs(1));
      EXPECT_EQ(granted(0).front().attempt, 2U + static_cast<unsigned>(failure));
      receive(0, GiveBack{.step = 1, .leases = granted(0)});
    }
    if (run == 0) {
      first_delays = delays;
    }
    EXPECT_EQ(delays, first_delays);
  }
}

TEST_F(GiveUpTest, WantsASecondRankToTryWhereThereIsOne) {
  make({.rank_count = 2});
  start({1}, 1);
  for (int failure = 0; failure < 5; ++failure) {
    fail_once(0);
    EXPECT_EQ(step_failure(0).code, ErrorCode::kOk);
  }
  fail_once(1);
  EXPECT_THAT(step_failure(1).text, HasSubstr("shard 0 failed on rank 1 in attempt 6 of 4: boom"));
}

TEST_F(GiveUpTest, DoesNotWaitForeverForASecondRank) {
  make({.rank_count = 2});
  start({1}, 1);
  for (int failure = 0; failure < 8; ++failure) {
    EXPECT_EQ(step_failure(0).code, ErrorCode::kOk);
    fail_once(0);
  }
  EXPECT_THAT(step_failure(0).text, HasSubstr("in attempt 8 of 4"));
}

TEST_F(GiveUpTest, NamesEveryShardThatHasFailed) {
  make({.rank_count = 1});
  start({1, 1, 1}, 1);
  const std::vector<Lease> leases = claim(0, 3);
  fail(0, {leases[2]}, 2, ErrorCode::kUnavailable);
  fail(0, {leases[1]}, 1, ErrorCode::kDataLoss);
  EXPECT_EQ(step_failure(0).code, ErrorCode::kDataLoss);
  EXPECT_THAT(step_failure(0).text,
              HasSubstr("shard 1 failed on rank 0 in attempt 1 of 4: boom; others have failed "
                        "too: shard 2 (once: boom)"));
}

TEST_F(GiveUpTest, GoesOnWithoutTheShardWhereItMayBeSkipped) {
  make({.rank_count = 1, .skip_bad = true});
  start({1, 1}, 1);
  const std::vector<Lease> leases = claim(0, 2);
  fail(0, leases, 1, ErrorCode::kNotFound);
  EXPECT_EQ(step_failure(0).code, ErrorCode::kOk);
  EXPECT_THAT(observations(),
              ElementsAre("step 1 goes on without shard 1: shard 1 failed on rank 0 in attempt 1 "
                          "of 4: boom"));
  const std::vector<Lease> good = claim(0, 2);
  ASSERT_THAT(units(good), ElementsAre(0));
  EXPECT_EQ(report(0, 1, good), ErrorCode::kOk);
  const std::vector<Lease> partition = claim(0, 1);
  EXPECT_EQ(report(0, 2, partition, Stage::kMerge), ErrorCode::kOk);
  ASSERT_THAT(sent<StepDone>(0), SizeIs(1));
  EXPECT_EQ(sent<StepDone>(0).front().shard_count, 2U);
  EXPECT_EQ(sent<StepDone>(0).front().skipped_shard_count, 1U);
  EXPECT_EQ(coordinator_->progress().skipped_shard_count, 1U);
}

TEST_F(GiveUpTest, AsksOneRankWhatInputASkippedShardHas) {
  make({.rank_count = 3, .skip_bad = true});
  start({1, 1, 1}, 0);
  const std::vector<Lease> leases = claim(2, 1);
  lose(0, true);
  fail(2, leases, leases.front().unit, ErrorCode::kNotFound);
  ASSERT_THAT(sent<ShardSkipped>(1), SizeIs(1));
  EXPECT_EQ(sent<ShardSkipped>(1).front().shard, leases.front().unit);
  EXPECT_THAT(sent<ShardSkipped>(1).front().failure.text, HasSubstr("boom"));
  EXPECT_THAT(sent<ShardSkipped>(2), IsEmpty());
}

TEST_F(GiveUpTest, AsksTheNextRankThatComesWhenTheShardHasKilledTheOnlyOne) {
  make({.rank_count = 1, .skip_bad = true});
  start({1, 1}, 0);
  for (int death = 0; death < 2; ++death) {
    ASSERT_THAT(units(claim(0, 1)), ElementsAre(0));
    lose(0, true);
    EXPECT_THAT(sent<ShardSkipped>(0), IsEmpty());
    effects_.clear();
    join(0);
    enter(0);
  }
  ASSERT_THAT(sent<ShardSkipped>(0), SizeIs(1));
  effects_.clear();
  enter(0);
  EXPECT_THAT(sent<ShardSkipped>(0), IsEmpty());
}

// The first death says only which shards were held; from then on they are run alone.
TEST_F(GiveUpTest, TakesADeathMoreWhereTheFirstRankHeldSeveralShards) {
  make({.rank_count = 1});
  start({1, 1}, 0);
  ASSERT_THAT(claim(0, 2), SizeIs(2));
  for (int death = 1; death <= 3; ++death) {
    EXPECT_EQ(step_failure(0).code, ErrorCode::kOk);
    lose(0, true);
    join(0);
    effects_.clear();
    enter(0);
    if (death < 3) {
      ASSERT_THAT(units(claim(0, 2)), ElementsAre(0));
    }
  }
  EXPECT_THAT(step_failure(0).text, HasSubstr("shard 0 was held by 3 ranks when they died"));
}

TEST_F(GiveUpTest, SkipsAllOfThemWhenAllAreBad) {
  make({.rank_count = 1, .skip_bad = true});
  start({1}, 0);
  fail(0, claim(0, 1), 0, ErrorCode::kNotFound);
  ASSERT_THAT(sent<StepDone>(0), SizeIs(1));
  EXPECT_EQ(sent<StepDone>(0).front().skipped_shard_count, 1U);
}

TEST_F(GiveUpTest, SkipsAShardThatKeepsKillingRanks) {
  make({.rank_count = 2, .skip_bad = true});
  start({1, 1}, 0);
  for (int death = 0; death < 2; ++death) {
    ASSERT_THAT(units(claim(0, 1)), ElementsAre(0));
    lose(0, true);
    join(0);
    enter(0);
  }
  EXPECT_THAT(observations(), SizeIs(1));
  EXPECT_EQ(report(1, 1, claim(1, 1)), ErrorCode::kOk);
  EXPECT_THAT(sent<StepDone>(1), SizeIs(1));
}

TEST_F(GiveUpTest, NeverSkipsAPartition) {
  make({.rank_count = 1, .skip_bad = true});
  start({}, 1);
  const std::vector<Lease> partition = claim(0, 1);
  receive(0, BatchFailed{.step = 1,
                         .stage = Stage::kMerge,
                         .bad_unit = 0,
                         .failure = {ErrorCode::kDataLoss, "boom"},
                         .batch = partition});
  EXPECT_EQ(step_failure(0).code, ErrorCode::kDataLoss);
}

TEST_F(GiveUpTest, RefusesAReportOfAShardThatIsSkipped) {
  make({.rank_count = 2, .skip_bad = true});
  start({1, 1, 1}, 1);
  const std::vector<Lease> late = claim(0, 1);
  pass(7s);
  const std::vector<Lease> again = claim(1, 1);
  ASSERT_EQ(again.front().unit, late.front().unit);
  fail(1, again, again.front().unit, ErrorCode::kNotFound);
  EXPECT_EQ(report(0, 1, late), ErrorCode::kAborted);
  EXPECT_THAT(blobs<Keep>(), IsEmpty());
}

TEST_F(GiveUpTest, RunsOneShardAlone) {
  make({.rank_count = 1, .only_shard = 2});
  for (std::uint32_t rank = 0; rank < 1; ++rank) {
    join(rank);
    enter(rank);
  }
  plan(0, {5, 1, 1, 1}, 0);
  EXPECT_THAT(observations(), ElementsAre("step 1 runs shard 2 only, of 4"));
  const std::vector<Lease> leases = claim(0, 4);
  ASSERT_THAT(units(leases), ElementsAre(2));
  EXPECT_EQ(report(0, 1, leases), ErrorCode::kOk);
  ASSERT_THAT(sent<StepDone>(0), SizeIs(1));
  EXPECT_EQ(sent<StepDone>(0).front().skipped_shard_count, 3U);
}

TEST_F(GiveUpTest, RunsAStepWithoutThatShardAsEver) {
  make({.rank_count = 1, .only_shard = 2});
  start({1, 1}, 0);
  EXPECT_THAT(claim(0, 4), SizeIs(2));
}

}  // namespace
}  // namespace pinion::protocol
