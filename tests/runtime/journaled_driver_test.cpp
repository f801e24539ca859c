// What the driver of a coordinator withholds until a record is where it outlives it.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/protocol/wire.hpp>

#include "coordinator_driver.hpp"

namespace pinion {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kJob = 77;

BlobHandle blob(std::uint32_t segment) {
  return {.job = kJob, .generation = 1, .length_bytes = 64, .epoch = 2, .segment = segment};
}

class JournaledDriver : public testing::Test {
 protected:
  void SetUp() override {
    driver_.rank_joined({0, 1}, 100);
    send(1, protocol::EnterStep{1, 42, "a step"});
  }

  void send(std::uint32_t incarnation, const protocol::Message& message) {
    ASSERT_TRUE(
        driver_
            .message_arrived({0, incarnation}, protocol::encode({kJob, 2, 0, incarnation}, message))
            .ok());
  }
  void plan() {
    send(1, protocol::PlanReady{.step = 1, .plan = blob(9), .shards = {{.weight = 1}}});
  }
  void report_shard() {
    send(1, protocol::Claim{1, 1});
    all_are_safe();
    ASSERT_EQ(count_of<protocol::Grant>(), 1U);
    send(1, protocol::Report{.step = 1, .report = 5, .output = blob(1), .batch = leases_});
  }
  void all_are_safe() { driver_.records_are_safe(persisted_.size()); }

  template <class Kind>
  std::size_t count_of() const {
    std::size_t count = 0;
    for (const protocol::Decoded& decoded : sent_) {
      count += std::holds_alternative<Kind>(decoded.message) ? 1U : 0U;
    }
    return count;
  }

  SystemClock clock_;
  GrantLog log_;
  std::vector<protocol::Decoded> sent_;
  std::vector<protocol::Lease> leases_;
  std::vector<std::uint32_t> kept_;
  std::vector<std::uint32_t> released_;
  std::vector<protocol::Failure> ends_;
  std::vector<protocol::Record> persisted_;
  Status refusal_;
  CoordinatorDriver driver_{
      {.job = kJob, .epoch = 2, .journaled = true},
      {.send =
           [this](std::uint32_t, const std::vector<std::byte>& bytes) {
             sent_.push_back(*protocol::decode(bytes));
             if (const auto* grant = std::get_if<protocol::Grant>(&sent_.back().message)) {
               leases_ = grant->leases;
             }
           },
       .keep =
           [this](const BlobHandle& handle) {
             kept_.push_back(handle.segment);
             return Status();
           },
       .release = [this](const BlobHandle& handle) { released_.push_back(handle.segment); },
       .end_job = [this](const protocol::Failure& failure) { ends_.push_back(failure); },
       .persist = [this](protocol::Record record) -> Result<std::uint64_t> {
         if (!refusal_.ok()) {
           return refusal_;
         }
         persisted_.push_back(std::move(record));
         return persisted_.size();
       }},
      clock_,
      log_};
};

TEST_F(JournaledDriver, TellsARankOfItsAcceptanceWhenThatIsSafe) {
  EXPECT_EQ(count_of<protocol::MakePlan>(), 0U) << "the step that was opened is not safe yet";
  all_are_safe();
  EXPECT_EQ(count_of<protocol::MakePlan>(), 1U);
  plan();
  report_shard();
  EXPECT_EQ(count_of<protocol::Verdict>(), 0U);
  EXPECT_TRUE(driver_.waits_for_records());
  all_are_safe();
  EXPECT_EQ(count_of<protocol::Verdict>(), 1U);
  EXPECT_FALSE(driver_.waits_for_records());
}

TEST_F(JournaledDriver, KeepsABlobBeforeItsRecordIsSafe) {
  all_are_safe();
  plan();
  EXPECT_THAT(kept_, ElementsAre(9));
  report_shard();
  EXPECT_THAT(kept_, ElementsAre(9, 1));
  EXPECT_THAT(released_, IsEmpty());
}

TEST_F(JournaledDriver, DoesWhatWaitsInItsOrderAndNoFurther) {
  all_are_safe();
  plan();
  report_shard();
  send(1, protocol::Heartbeat{1, 5, {}});
  EXPECT_EQ(count_of<protocol::HeartbeatAck>(), 0U) << "it is behind the verdict";
  driver_.records_are_safe(persisted_.size() - 1);
  EXPECT_EQ(count_of<protocol::Verdict>(), 0U);
  all_are_safe();
  EXPECT_EQ(count_of<protocol::Verdict>(), 1U);
  EXPECT_EQ(count_of<protocol::HeartbeatAck>(), 1U);
}

TEST_F(JournaledDriver, DoesNotTellALifeWhatAnotherWaitedFor) {
  all_are_safe();
  plan();
  report_shard();
  driver_.rank_lost({0, 1}, "signal 9", true);
  driver_.rank_joined({0, 2}, 101);
  all_are_safe();
  EXPECT_EQ(count_of<protocol::Verdict>(), 0U);
  send(2, protocol::EnterStep{1, 42, "a step"});
  all_are_safe();
  EXPECT_EQ(sent_.back().envelope.incarnation, 2U);
}

TEST_F(JournaledDriver, EndsTheJobWhereNothingIsSafeAnyMore) {
  all_are_safe();
  plan();
  report_shard();
  driver_.no_record_is_safe(Status(ErrorCode::kResourceExhausted, "the disk is full"));
  ASSERT_EQ(ends_.size(), 1U);
  EXPECT_EQ(ends_[0].code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(ends_[0].text, HasSubstr("nothing more is accepted: the disk is full"));
  EXPECT_EQ(count_of<protocol::JobFailed>(), 1U);
  all_are_safe();
  send(1, protocol::Heartbeat{1, 5, {}});
  EXPECT_EQ(count_of<protocol::Verdict>(), 0U) << "what was not safe is never told";
  driver_.no_record_is_safe(Status(ErrorCode::kResourceExhausted, "again"));
  EXPECT_EQ(ends_.size(), 1U);
}

TEST_F(JournaledDriver, AcceptsNothingThatCannotBeSent) {
  all_are_safe();
  plan();
  send(1, protocol::Claim{1, 1});
  all_are_safe();
  refusal_ = Status(ErrorCode::kDataLoss, "the blob is not there");
  send(1, protocol::Report{.step = 1, .report = 5, .output = blob(1), .batch = leases_});
  EXPECT_EQ(count_of<protocol::Verdict>(), 0U);
  ASSERT_EQ(ends_.size(), 1U);
  EXPECT_EQ(ends_[0].code, ErrorCode::kDataLoss);
}

TEST_F(JournaledDriver, GoesOnFromWhatAnEarlierOneHasPersisted) {
  all_are_safe();
  plan();
  report_shard();
  all_are_safe();
  const std::vector<protocol::Record> records = persisted_;
  CoordinatorDriver next({.job = kJob, .epoch = 3, .journaled = true},
                         {.send =
                              [this](std::uint32_t, const std::vector<std::byte>& bytes) {
                                sent_.push_back(*protocol::decode(bytes));
                              },
                          .keep = [](const BlobHandle&) { return Status(); },
                          .release = [](const BlobHandle&) {},
                          .end_job = [](const protocol::Failure&) {},
                          .persist = [](protocol::Record) -> Result<std::uint64_t> { return 1; }},
                         clock_, log_);
  next.restore(records);
  next.rank_joined({0, 1}, 100);
  sent_.clear();
  ASSERT_TRUE(next.message_arrived({0, 1}, protocol::encode({kJob, 3, 0, 1},
                                                            protocol::EnterStep{1, 42, "a step"}))
                  .ok());
  ASSERT_TRUE(
      next.message_arrived({0, 1}, protocol::encode({kJob, 3, 0, 1}, protocol::Claim{1, 1})).ok());
  ASSERT_EQ(count_of<protocol::MergeInputs>(), 1U) << "the only shard was accepted before";
}

}  // namespace
}  // namespace pinion
