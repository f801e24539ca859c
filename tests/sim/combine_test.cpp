// What a coordinator does to combine the partials of each host before they are merged.

#include <algorithm>
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
using testing::UnorderedElementsAre;

/// Ranks live on hosts two by two: 0 and 1 on host 0, 2 and 3 on host 1.
class CombineTest : public CoordinatorTest {
 protected:
  static constexpr std::uint64_t kPartialBytes = 1000;

  void make_hosts(CoordinatorOptions options = {}, std::uint32_t host_count = 2) {
    options.rank_count = host_count * ranks_of_host_;
    options.rank_hosts.clear();
    for (std::uint32_t rank = 0; rank < options.rank_count; ++rank) {
      options.rank_hosts.push_back(rank / ranks_of_host_);
    }
    options.combine_bytes_min = combine_bytes_min_;
    make(options);
  }

  void start_combining(std::uint64_t shard_count, std::uint32_t partition_count = 2) {
    for (std::uint32_t rank = 0; rank < rank_count_; ++rank) {
      join(rank);
      enter(rank);
    }
    receive(0, PlanReady{.step = 1,
                         .plan = blob(1000),
                         .partition_count = partition_count,
                         .shards = std::vector<ShardEntry>(shard_count, {.weight = 1}),
                         .ordered_batch_shard_count = ordered_batch_shard_count_,
                         .combines = combines_});
  }

  /// With an output that lies where the rank lives, and has the number of the report.
  ErrorCode report_here(std::uint32_t rank, const std::vector<Lease>& batch, Stage stage,
                        std::uint64_t size_bytes = kPartialBytes) {
    effects_.clear();
    receive(rank, Report{.step = 1,
                         .stage = stage,
                         .report = ++report_count_,
                         .output = on_host_of(rank, report_count_, size_bytes),
                         .batch = batch});
    return sent<Verdict>(rank).at(0).failure.code;
  }
  /// Rank 0 could not combine what it holds.
  void fail(const std::vector<Lease>& batch, const Failure& failure) {
    receive(0, BatchFailed{.step = 1,
                           .stage = Stage::kCombine,
                           .bad_unit = batch.front().unit,
                           .failure = failure,
                           .batch = batch});
  }
  [[nodiscard]] BlobHandle on_host_of(std::uint32_t rank, std::uint64_t number,
                                      std::uint64_t size_bytes = kPartialBytes) const {
    return {.job = 1,
            .generation = number,
            .length_bytes = size_bytes,
            .epoch = 1,
            .host = rank / ranks_of_host_};
  }

  /// Every rank maps one unit, with the outputs 1, 2 and so on.
  void map_one_each(std::uint32_t partition_count = 2) {
    start_combining(rank_count_, partition_count);
    std::vector<std::vector<Lease>> leases;
    for (std::uint32_t rank = 0; rank < rank_count_; ++rank) {
      leases.push_back(claim(rank, 1));
    }
    for (std::uint32_t rank = 0; rank < rank_count_; ++rank) {
      EXPECT_EQ(report_here(rank, leases[rank], Stage::kMap), ErrorCode::kOk);
    }
  }
  /// What a rank claims of the combine stage, reported.
  void combine(std::uint32_t rank, std::uint64_t size_bytes = 10) {
    for (const Lease& lease : claim(rank, 9)) {
      EXPECT_EQ(report_here(rank, {lease}, Stage::kCombine, size_bytes), ErrorCode::kOk);
    }
  }
  [[nodiscard]] Stage stage() const { return coordinator_->progress().stage; }
  void lose_host(std::uint32_t host) {
    effects_.clear();
    step(HostLost{.host = host, .reason = "its power failed"});
  }
  [[nodiscard]] MergeInputs merge_inputs(std::uint32_t rank) {
    EXPECT_THAT(claim(rank, 1), SizeIs(1));
    EXPECT_THAT(sent<MergeInputs>(rank), SizeIs(1));
    return sent<MergeInputs>(rank).at(0);
  }

  std::uint32_t ranks_of_host_ = 2;
  std::uint64_t combine_bytes_min_ = kPartialBytes;
  bool combines_ = true;
  std::uint64_t report_count_ = 0;
};

TEST_F(CombineTest, GivesARankPartitionsOfItsOwnHostOnly) {
  make_hosts();
  map_one_each();
  EXPECT_EQ(stage(), Stage::kCombine);
  const std::vector<Lease> of_2 = claim(2, 9);
  EXPECT_THAT(units(of_2), ElementsAre(2)) << "the first partition of host 1; the other is left";
  EXPECT_EQ(sent<Grant>(2).front().stage, Stage::kCombine);
  EXPECT_THAT(sent<MergeInputs>(2).at(0).partials, ElementsAre(on_host_of(2, 3), on_host_of(3, 4)));
  EXPECT_THAT(sent<MergeInputs>(2).at(0).combined, IsEmpty());
  EXPECT_THAT(units(claim(3, 9)), ElementsAre(3));
  EXPECT_THAT(units(claim(0, 9)), ElementsAre(0));
  EXPECT_THAT(units(claim(1, 9)), ElementsAre(1));
  EXPECT_THAT(claim(1, 9), IsEmpty());
}

TEST_F(CombineTest, MergesWhatIsCombinedInThePlaceOfItsMembers) {
  make_hosts();
  map_one_each();
  for (std::uint32_t rank = 0; rank < rank_count_; ++rank) {
    combine(rank);
  }
  EXPECT_EQ(stage(), Stage::kMerge);
  const MergeInputs inputs = merge_inputs(3);
  EXPECT_THAT(inputs.partials,
              ElementsAre(on_host_of(0, 1), on_host_of(1, 2), on_host_of(2, 3), on_host_of(3, 4)));
  ASSERT_THAT(inputs.combined, SizeIs(2));
  EXPECT_THAT(inputs.combined[0].members, ElementsAre(0, 1));
  EXPECT_THAT(inputs.combined[0].outputs, ElementsAre(on_host_of(0, 5, 10), on_host_of(1, 6, 10)));
  EXPECT_THAT(inputs.combined[1].members, ElementsAre(2, 3));
  EXPECT_THAT(inputs.combined[1].outputs, ElementsAre(on_host_of(2, 7, 10), on_host_of(3, 8, 10)));
  for (const Lease& lease : claim(2, 1)) {
    EXPECT_EQ(report_here(2, {lease}, Stage::kMerge), ErrorCode::kOk);
  }
  EXPECT_THAT(sent<StepDone>(0), IsEmpty());
}

TEST_F(CombineTest, ReleasesWhatIsCombinedWithTheStep) {
  make_hosts();
  map_one_each();
  for (std::uint32_t rank = 0; rank < rank_count_; ++rank) {
    combine(rank);
  }
  const std::vector<Lease> first = claim(0, 1);
  const std::vector<Lease> second = claim(1, 1);
  EXPECT_EQ(report_here(0, first, Stage::kMerge), ErrorCode::kOk);
  EXPECT_EQ(report_here(1, second, Stage::kMerge), ErrorCode::kOk);
  EXPECT_THAT(sent<StepDone>(0), SizeIs(1));
  EXPECT_THAT(blobs<Release>(), UnorderedElementsAre(1000, 1, 2, 3, 4, 5, 6, 7, 8));
}

TEST_F(CombineTest, LeavesOutHostsThatSpareTooLittle) {
  make_hosts();
  start_combining(4);
  const std::vector<Lease> of_0 = claim(0, 1);
  const std::vector<Lease> of_1 = claim(1, 1);
  const std::vector<Lease> of_2 = claim(2, 1);
  const std::vector<Lease> of_3 = claim(3, 1);
  EXPECT_EQ(report_here(0, of_0, Stage::kMap), ErrorCode::kOk);
  EXPECT_EQ(report_here(1, of_1, Stage::kMap, kPartialBytes - 1), ErrorCode::kOk);
  EXPECT_EQ(report_here(2, of_2, Stage::kMap), ErrorCode::kOk);
  EXPECT_EQ(report_here(3, of_3, Stage::kMap), ErrorCode::kOk);
  EXPECT_EQ(stage(), Stage::kCombine);
  EXPECT_THAT(claim(0, 9), IsEmpty());
  combine(2);
  combine(3);
  EXPECT_EQ(stage(), Stage::kMerge);
  const std::vector<MergeInputs> inputs = sent<MergeInputs>(0);
  ASSERT_THAT(inputs, SizeIs(1)) << "its claim was open";
  ASSERT_THAT(inputs.front().combined, SizeIs(1));
  EXPECT_THAT(inputs.front().combined[0].members, ElementsAre(2, 3));
}

TEST_F(CombineTest, IsNotDoneWhereNothingIsToBeHadOfIt) {
  for (const bool is_ordered : {false, true}) {
    make_hosts();
    combines_ = is_ordered;
    ordered_batch_shard_count_ = is_ordered ? 1 : 0;
    report_count_ = 0;
    map_one_each();
    EXPECT_EQ(stage(), Stage::kMerge);
  }
}

TEST_F(CombineTest, IsNotDoneOnOneHost) {
  make({.rank_count = 4, .rank_hosts = {0, 0, 0, 0}, .combine_bytes_min = 0});
  start_combining(2);
  const std::vector<Lease> of_0 = claim(0, 1);
  const std::vector<Lease> of_1 = claim(1, 1);
  EXPECT_EQ(report_here(0, of_0, Stage::kMap), ErrorCode::kOk);
  EXPECT_EQ(report_here(1, of_1, Stage::kMap), ErrorCode::kOk);
  EXPECT_EQ(stage(), Stage::kMerge);
}

TEST_F(CombineTest, StopsOnAHostWherePartialsHaveLittleInCommon) {
  make_hosts();
  start_combining(4, 4);
  std::vector<std::vector<Lease>> leases;
  for (std::uint32_t rank = 0; rank < rank_count_; ++rank) {
    leases.push_back(claim(rank, 1));
  }
  for (std::uint32_t rank = 0; rank < rank_count_; ++rank) {
    EXPECT_EQ(report_here(rank, leases[rank], Stage::kMap), ErrorCode::kOk);
  }
  // A partition of a host has 500 bytes.
  const std::vector<Lease> little = claim(0, 1);
  EXPECT_EQ(report_here(0, little, Stage::kCombine, 376), ErrorCode::kOk);
  EXPECT_THAT(claim(1, 9), IsEmpty());
  const std::vector<Lease> much = claim(2, 1);
  EXPECT_EQ(report_here(2, much, Stage::kCombine, 375), ErrorCode::kOk);
  while (stage() == Stage::kCombine) {
    combine(3, 300);
  }
  const std::vector<Lease> merges = claim(3, 1);
  const std::vector<MergeInputs> inputs = sent<MergeInputs>(3);
  ASSERT_THAT(inputs, SizeIs(1));
  ASSERT_THAT(inputs.front().combined, SizeIs(2));
  EXPECT_EQ(std::count(inputs.front().combined[0].outputs.begin(),
                       inputs.front().combined[0].outputs.end(), BlobHandle{}),
            3);
  EXPECT_EQ(std::count(inputs.front().combined[1].outputs.begin(),
                       inputs.front().combined[1].outputs.end(), BlobHandle{}),
            0);
}

TEST_F(CombineTest, ThatFailsLeavesTheHostUncombinedAndIsTold) {
  make_hosts();
  map_one_each();
  const std::vector<Lease> of_0 = claim(0, 1);
  const std::vector<Lease> of_1 = claim(1, 1);
  effects_.clear();
  fail(of_0, {.code = ErrorCode::kResourceExhausted, .text = "no room"});
  EXPECT_THAT(
      observations(),
      ElementsAre("step 1 merges partials of host 0 without combining them first: no room"));
  EXPECT_EQ(coordinator_->progress().failure_count, 0U);
  EXPECT_EQ(report_here(1, of_1, Stage::kCombine), ErrorCode::kOk) << "what was under way";
  combine(2);
  combine(3);
  EXPECT_EQ(stage(), Stage::kMerge);
  const MergeInputs inputs = merge_inputs(0);
  EXPECT_THAT(inputs.combined[0].outputs, ElementsAre(BlobHandle{}, on_host_of(1, 5)));
}

TEST_F(CombineTest, GoesOnWithAnotherRankOfTheHost) {
  make_hosts();
  map_one_each();
  const std::vector<Lease> of_0 = claim(0, 1);
  lose(0, false);
  effects_.clear();
  const std::vector<Lease> first = claim(1, 1);
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_EQ(report_here(1, first, Stage::kCombine, 10), ErrorCode::kOk);
  combine(1);
  combine(2);
  combine(3);
  EXPECT_EQ(stage(), Stage::kMerge);
  EXPECT_THAT(merge_inputs(2).combined[0].outputs, testing::Each(testing::Ne(BlobHandle{})));
}

TEST_F(CombineTest, DoesNotWaitForAHostWithoutARankForIt) {
  for (const bool drains : {false, true}) {
    make_hosts();
    report_count_ = 0;
    map_one_each();
    combine(2);
    combine(3);
    const std::vector<Lease> of_0 = claim(0, 1);
    for (const std::uint32_t rank : {0U, 1U}) {
      if (drains) {
        receive(rank, Drain{.reason = "the node is wanted"});
      } else {
        lose(rank, true);
      }
    }
    if (drains) {
      EXPECT_EQ(stage(), Stage::kCombine) << "rank 0 holds a lease";
      receive(0, GiveBack{.step = 1, .stage = Stage::kCombine, .leases = of_0});
    }
    EXPECT_EQ(stage(), Stage::kMerge);
    const MergeInputs inputs = merge_inputs(2);
    ASSERT_THAT(inputs.combined, SizeIs(1));
    EXPECT_THAT(inputs.combined[0].members, ElementsAre(2, 3));
  }
}

TEST_F(CombineTest, DoesNotWaitForRanksThatAreSilent) {
  make_hosts();
  map_one_each();
  combine(2);
  combine(3);
  const std::vector<Lease> of_0 = claim(0, 1);
  const std::vector<Lease> of_1 = claim(1, 1);
  EXPECT_EQ(stage(), Stage::kCombine);
  pass(7s);
  EXPECT_EQ(stage(), Stage::kMerge);
  EXPECT_EQ(report_here(0, of_0, Stage::kCombine), ErrorCode::kAborted);
}

TEST_F(CombineTest, OfALostHostIsMadeAgainAndTheRestStands) {
  make_hosts();
  map_one_each();
  combine(0);
  combine(1);
  const std::vector<Lease> under_way = claim(2, 1);
  lose_host(1);
  EXPECT_EQ(stage(), Stage::kMap);
  for (const std::uint32_t rank : {0U, 1U}) {
    const std::vector<Lease> again = claim(rank, 9);
    EXPECT_THAT(units(again), ElementsAre(2 + rank));
    EXPECT_EQ(report_here(rank, again, Stage::kMap), ErrorCode::kOk);
  }
  EXPECT_EQ(stage(), Stage::kMerge) << "the other host is combined, and that once";
  const MergeInputs inputs = merge_inputs(0);
  EXPECT_THAT(inputs.partials,
              ElementsAre(on_host_of(0, 1), on_host_of(1, 2), on_host_of(0, 7), on_host_of(1, 8)));
  ASSERT_THAT(inputs.combined, SizeIs(1));
  EXPECT_THAT(inputs.combined[0].members, ElementsAre(0, 1)) << "what came later is not in it";
  EXPECT_THAT(inputs.combined[0].outputs, ElementsAre(on_host_of(0, 5, 10), on_host_of(1, 6, 10)));
}

TEST_F(CombineTest, TakesItsLeasesBackWhenPartialsOfAnotherHostAreLost) {
  make_hosts();
  map_one_each();
  const std::vector<Lease> of_0 = claim(0, 1);
  lose_host(1);
  ASSERT_THAT(sent<HeartbeatAck>(0), SizeIs(1));
  EXPECT_EQ(sent<HeartbeatAck>(0).front().sent_ns, HeartbeatAck::kUnasked);
  EXPECT_THAT(units(sent<HeartbeatAck>(0).front().lost), ElementsAre(of_0.front().unit));
  EXPECT_EQ(report_here(0, of_0, Stage::kCombine), ErrorCode::kAborted);
}

TEST_F(CombineTest, IsForgottenByALaterEpochThatHasThePartials) {
  make_hosts({.journaled = true});
  map_one_each();
  effects_.clear();
  const std::vector<Lease> of_0 = claim(0, 1);
  EXPECT_EQ(report_here(0, of_0, Stage::kCombine, 10), ErrorCode::kOk);
  EXPECT_TRUE(std::none_of(effects_.begin(), effects_.end(), [](const Effect& effect) {
    return std::holds_alternative<Persist>(effect);
  }));
  EXPECT_THAT(blobs<Keep>(), ElementsAre(5));
}

TEST_F(CombineTest, ReportsThatComeAgainAreAnsweredAlike) {
  make_hosts();
  map_one_each();
  const std::vector<Lease> of_0 = claim(0, 1);
  EXPECT_EQ(report_here(0, of_0, Stage::kCombine, 10), ErrorCode::kOk);
  --report_count_;
  EXPECT_EQ(report_here(0, of_0, Stage::kCombine, 10), ErrorCode::kOk);
  EXPECT_THAT(blobs<Keep>(), IsEmpty());
}

/// Hosts of which pairs combine what they have before it is merged.
class CombinedPairs : public CombineTest {
 protected:
  void make_pairs(std::uint32_t ranks_of_host, std::uint32_t partition_count,
                  std::uint32_t host_count = 4) {
    ranks_of_host_ = ranks_of_host;
    combine_bytes_min_ = kPartialBytes / 2;
    make_hosts({}, host_count);
    map_one_each(partition_count);
    ASSERT_EQ(stage(), Stage::kCombine);
  }

  /// What the first rank of each combines, of its host.
  void combine_hosts() {
    for (std::uint32_t rank = 0; rank < rank_count_; rank += ranks_of_host_) {
      combine(rank, 400);
    }
    ASSERT_EQ(stage(), Stage::kCombine);
  }
};

TEST_F(CombinedPairs, HaveOneOfThemPullFromTheOther) {
  make_pairs(1, 1);
  const std::vector<Lease> of_0 = claim(0, 9);
  EXPECT_THAT(units(of_0), ElementsAre(4)) << "the first that is not of a host alone";
  EXPECT_THAT(sent<MergeInputs>(0).at(0).partials, ElementsAre(on_host_of(0, 1), on_host_of(1, 2)));
  EXPECT_THAT(sent<MergeInputs>(0).at(0).combined, IsEmpty());
  EXPECT_THAT(claim(1, 9), IsEmpty());
  EXPECT_THAT(claim(3, 9), IsEmpty());
  EXPECT_THAT(units(claim(2, 9)), ElementsAre(5));
  EXPECT_THAT(sent<MergeInputs>(2).at(0).partials, ElementsAre(on_host_of(2, 3), on_host_of(3, 4)));
}

TEST_F(CombinedPairs, AreMergedInThePlaceOfTheirMembers) {
  make_pairs(1, 1);
  combine(0);
  combine(2);
  EXPECT_EQ(stage(), Stage::kMerge) << "half of two is not less than what one gets";
  const MergeInputs inputs = merge_inputs(0);
  ASSERT_THAT(inputs.combined, SizeIs(2));
  EXPECT_THAT(inputs.combined[0].members, ElementsAre(0, 1));
  EXPECT_THAT(inputs.combined[0].outputs, ElementsAre(on_host_of(0, 5, 10)));
  EXPECT_THAT(inputs.combined[1].members, ElementsAre(2, 3));
  EXPECT_THAT(inputs.combined[1].outputs, ElementsAre(on_host_of(2, 6, 10)));
}

TEST_F(CombinedPairs, ShareThePartitions) {
  make_pairs(1, 2);
  EXPECT_THAT(units(claim(0, 9)), ElementsAre(8));
  EXPECT_THAT(units(claim(1, 9)), ElementsAre(9));
  EXPECT_THAT(units(claim(2, 9)), ElementsAre(10));
  EXPECT_THAT(units(claim(3, 9)), ElementsAre(11));
}

TEST_F(CombinedPairs, AreMadeOfWhatTheirHostsHaveCombined) {
  make_pairs(2, 1);
  combine_hosts();
  const std::vector<Lease> of_0 = claim(0, 9);
  EXPECT_THAT(units(of_0), ElementsAre(4));
  const MergeInputs inputs = sent<MergeInputs>(0).at(0);
  EXPECT_THAT(inputs.partials,
              ElementsAre(on_host_of(0, 1), on_host_of(0, 2), on_host_of(2, 3), on_host_of(2, 4)));
  ASSERT_THAT(inputs.combined, SizeIs(2));
  EXPECT_THAT(inputs.combined[0].members, ElementsAre(0, 1));
  EXPECT_THAT(inputs.combined[0].outputs, ElementsAre(on_host_of(0, 9, 400)));
  EXPECT_THAT(inputs.combined[1].members, ElementsAre(2, 3));
  EXPECT_EQ(report_here(0, of_0, Stage::kCombine, 10), ErrorCode::kOk);
  combine(4);
  EXPECT_EQ(stage(), Stage::kMerge);
  const MergeInputs last = merge_inputs(0);
  ASSERT_THAT(last.combined, SizeIs(2)) << "what is in another output is in it once";
  EXPECT_THAT(last.combined[0].members, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(last.combined[1].members, ElementsAre(4, 5, 6, 7));
}

TEST_F(CombinedPairs, ThatFailAreMergedHostByHost) {
  make_pairs(2, 1);
  combine_hosts();
  const std::vector<Lease> of_0 = claim(0, 1);
  effects_.clear();
  fail(of_0, {.code = ErrorCode::kDataLoss, .text = "it is damaged"});
  EXPECT_THAT(observations(), ElementsAre("step 1 merges partials of 2 hosts from 0 to 1 "
                                          "without combining them first: it is damaged"));
  combine(4);
  EXPECT_EQ(stage(), Stage::kMerge);
  const MergeInputs inputs = merge_inputs(0);
  ASSERT_THAT(inputs.combined, SizeIs(3));
  EXPECT_THAT(inputs.combined[0].members, ElementsAre(0, 1));
  EXPECT_THAT(inputs.combined[1].members, ElementsAre(2, 3));
  EXPECT_THAT(inputs.combined[2].members, ElementsAre(4, 5, 6, 7));
}

TEST_F(CombinedPairs, AreNotMadeWherePartialsHaveLittleInCommon) {
  make_pairs(2, 1);
  for (std::uint32_t rank = 0; rank < rank_count_; ++rank) {
    combine(rank, 1900);
  }
  EXPECT_EQ(stage(), Stage::kMerge);
}

TEST_F(CombinedPairs, AreLetGoOfWhenOneOfThemIsLost) {
  make_pairs(2, 1);
  combine_hosts();
  combine(0);
  combine(4);
  EXPECT_EQ(stage(), Stage::kMerge);
  lose_host(1);
  EXPECT_EQ(stage(), Stage::kMap);
  EXPECT_THAT(blobs<Release>(), ElementsAre(13)) << "it has in it what is mapped again";
  for (const std::uint32_t rank : {0U, 1U}) {
    const std::vector<Lease> again = claim(rank, 9);
    EXPECT_EQ(report_here(rank, again, Stage::kMap), ErrorCode::kOk);
  }
  EXPECT_EQ(stage(), Stage::kMerge);
  const MergeInputs inputs = merge_inputs(0);
  ASSERT_THAT(inputs.combined, SizeIs(2));
  EXPECT_THAT(inputs.combined[0].members, ElementsAre(0, 1)) << "of host 0 alone";
  EXPECT_THAT(inputs.combined[1].members, SizeIs(4));
}

TEST_F(CombinedPairs, AreNotMadeOfWhatCouldNotBeCombined) {
  make_pairs(2, 1);
  const std::vector<Lease> of_0 = claim(0, 1);
  effects_.clear();
  fail(of_0, {.code = ErrorCode::kDataLoss, .text = "it is damaged"});
  EXPECT_THAT(observations(), SizeIs(1));
  for (const std::uint32_t rank : {2U, 4U, 6U}) {
    combine(rank, 400);
  }
  EXPECT_EQ(stage(), Stage::kCombine);
  EXPECT_THAT(claim(0, 9), IsEmpty());
  combine(4);
  EXPECT_EQ(stage(), Stage::kMerge);
  const std::vector<MergeInputs> inputs = sent<MergeInputs>(0);
  ASSERT_THAT(inputs, SizeIs(1)) << "its claim was open";
  ASSERT_THAT(inputs.front().combined, SizeIs(2));
  EXPECT_THAT(inputs.front().combined[0].members, ElementsAre(2, 3)) << "of host 1 alone";
  EXPECT_THAT(inputs.front().combined[1].members, ElementsAre(4, 5, 6, 7));
}

TEST_F(CombinedPairs, DoNotKillARankAgainAndAgain) {
  make_pairs(1, 1, 8);
  ASSERT_THAT(claim(0, 9), SizeIs(1));
  lose(0, true);
  join(0);
  enter(0);
  for (const std::uint32_t rank : {2U, 4U, 6U}) {
    combine(rank);
  }
  EXPECT_EQ(stage(), Stage::kCombine) << "of the other four";
  EXPECT_THAT(claim(0, 9), IsEmpty());
  combine(4);
  EXPECT_EQ(stage(), Stage::kMerge);
}

TEST_F(CombinedPairs, DoNotWaitWhereNoneCanBeMade) {
  make_pairs(2, 1);
  combine(2, 400);
  combine(6, 400);
  for (const std::uint32_t rank : {0U, 1U, 4U, 5U}) {
    EXPECT_EQ(stage(), Stage::kCombine);
    lose(rank, false);
  }
  EXPECT_EQ(stage(), Stage::kMerge);
}

TEST_F(CombinedPairs, DoNotWaitForAHostWithoutARankForThem) {
  make_pairs(1, 1);
  lose(2, false);
  combine(0);
  EXPECT_EQ(stage(), Stage::kMerge);
  EXPECT_THAT(merge_inputs(0).combined, SizeIs(1));
}

}  // namespace
}  // namespace pinion::protocol
