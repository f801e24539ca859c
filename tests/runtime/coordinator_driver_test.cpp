#include "coordinator_driver.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/protocol/wire.hpp>

namespace pinion {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::uint64_t kJob = 77;
constexpr LoggedRank kRank = {.rank = 1, .incarnation = 2};

class ManualClock final : public IClock {
 public:
  Instant now() const noexcept override { return now_; }
  void advance(Duration by) noexcept { now_ += by; }

 private:
  Instant now_ = Instant(std::chrono::hours(1));
};

class CoordinatorDriverOfTwoRanks : public ::testing::Test {
 protected:
  void SetUp() override {
    driver_.rank_joined({.rank = 0, .incarnation = 1}, 100);
    driver_.rank_joined(kRank, 101);
  }

  static std::vector<std::byte> bytes_of(LoggedRank who, const protocol::Message& message) {
    return protocol::encode({kJob, 1, who.rank, who.incarnation}, message);
  }

  Status send(LoggedRank who, const protocol::Message& message) {
    return driver_.message_arrived(who, bytes_of(who, message));
  }

  // Of the messages to a rank, those of one kind.
  template <class Kind>
  std::vector<Kind> sent_to(std::uint32_t rank) const {
    std::vector<Kind> found;
    for (const auto& [to, decoded] : sent_) {
      if (const auto* message = std::get_if<Kind>(&decoded.message); message && to == rank) {
        found.push_back(*message);
      }
    }
    return found;
  }

  ManualClock clock_;
  GrantLog log_;
  std::vector<std::pair<std::uint32_t, protocol::Decoded>> sent_;
  std::vector<BlobHandle> kept_;
  std::vector<BlobHandle> released_;
  std::vector<protocol::Failure> ends_;
  Status keep_answer_;
  CoordinatorDriver driver_{
      {.job = kJob, .rank_count = 2, .rank_hosts = {0, 1}},
      {.send =
           [this](std::uint32_t rank, const std::vector<std::byte>& bytes) {
             sent_.emplace_back(rank, *protocol::decode(bytes));
           },
       .keep =
           [this](const BlobHandle& blob) {
             kept_.push_back(blob);
             return keep_answer_;
           },
       .release = [this](const BlobHandle& blob) { released_.push_back(blob); },
       .end_job = [this](const protocol::Failure& failure) { ends_.push_back(failure); }},
      clock_,
      log_};
};

BlobHandle partial() {
  return {.job = kJob, .generation = 1, .length_bytes = 64, .epoch = 1, .segment = 65536};
}

TEST_F(CoordinatorDriverOfTwoRanks, RefusesBytesThatAreNoMessage) {
  const Status refused = driver_.message_arrived(kRank, std::vector<std::byte>(40));
  EXPECT_EQ(refused.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(CoordinatorDriverOfTwoRanks, RefusesAMessageInTheNameOfSomebodyElse) {
  const protocol::EnterStep enter{1, 42, "a step"};
  for (const LoggedRank other : {LoggedRank{0, 1}, LoggedRank{1, 1}, LoggedRank{9, 2}}) {
    const Status refused = driver_.message_arrived(kRank, bytes_of(other, enter));
    EXPECT_EQ(refused.code(), ErrorCode::kPermissionDenied);
    EXPECT_THAT(std::string(refused.message()),
                AllOf(HasSubstr("rank " + std::to_string(other.rank)), HasSubstr("rank 1")));
  }
  EXPECT_EQ(driver_.progress().step, 0u);
}

TEST_F(CoordinatorDriverOfTwoRanks, AddressesEachAnswerToTheLifeThatItIsFor) {
  ASSERT_TRUE(send(kRank, protocol::EnterStep{1, 42, "a step"}).ok());
  ASSERT_TRUE(send({0, 1}, protocol::EnterStep{1, 42, "a step"}).ok());
  ASSERT_TRUE(send(kRank, protocol::Heartbeat{1, 5, {}}).ok());
  ASSERT_EQ(sent_to<protocol::HeartbeatAck>(1).size(), 1u);
  for (const auto& [to, decoded] : sent_) {
    EXPECT_EQ(decoded.envelope, (protocol::Envelope{kJob, 1, to, to == 1 ? kRank.incarnation : 1}));
  }
}

TEST_F(CoordinatorDriverOfTwoRanks, LetsTheCoordinatorKnowOfTime) {
  ASSERT_TRUE(send(kRank, protocol::EnterStep{1, 42, "a step"}).ok());
  EXPECT_TRUE(sent_to<protocol::MakePlan>(1).empty()) << "rank 0 may still come";
  const Instant deadline = driver_.next_deadline();
  ASSERT_LT(deadline, Instant::max());
  clock_.advance(deadline - clock_.now());
  driver_.tick();
  EXPECT_EQ(sent_to<protocol::MakePlan>(1).size(), 1u);
  EXPECT_GT(driver_.next_deadline(), clock_.now());
}

// Takes a job of one shard, alone in rank 1's hands, to the report of its partial.
class CoordinatorDriverWithAReport : public CoordinatorDriverOfTwoRanks {
 protected:
  void SetUp() override {
    CoordinatorDriverOfTwoRanks::SetUp();
    ASSERT_TRUE(send({0, 1}, protocol::EnterStep{1, 42, "a step"}).ok());
    ASSERT_TRUE(send(kRank, protocol::EnterStep{1, 42, "a step"}).ok());
    ASSERT_TRUE(send({0, 1}, protocol::PlanReady{1, {}, 1, {{.weight = 1000}}}).ok());
    ASSERT_TRUE(send(kRank, protocol::Claim{1, 1}).ok());
    for (const protocol::Grant& grant : sent_to<protocol::Grant>(1)) {
      leases_.insert(leases_.end(), grant.leases.begin(), grant.leases.end());
    }
    ASSERT_EQ(leases_.size(), 1u);
  }

  Status report() {
    return send(
        kRank,
        protocol::Report{
            .step = 1, .report = 7, .output = partial(), .input_bytes = 1000, .batch = leases_});
  }

  std::vector<protocol::Lease> leases_;
};

TEST_F(CoordinatorDriverWithAReport, LosesAHostWithItsRank) {
  driver_.host_lost(1, "its power failed");
  ASSERT_TRUE(send({0, 1}, protocol::Claim{1, 1}).ok());
  ASSERT_EQ(sent_to<protocol::Grant>(0).size(), 1u);
  EXPECT_EQ(sent_to<protocol::Grant>(0).front().leases.size(), 1u) << "what rank 1 held";
}

TEST_F(CoordinatorDriverWithAReport, KeepsWhatIsAccepted) {
  ASSERT_TRUE(report().ok());
  EXPECT_EQ(kept_, std::vector<BlobHandle>{partial()});
  EXPECT_TRUE(released_.empty());
  EXPECT_TRUE(ends_.empty());
  const JobTotals totals = driver_.totals();
  EXPECT_EQ(totals.step_count, 1u);
  EXPECT_EQ(totals.shard_count, 1u);
  EXPECT_EQ(totals.input_bytes, 1000u);
  EXPECT_EQ(totals.failure_count, 0u);
}

TEST_F(CoordinatorDriverWithAReport, ReleasesWhatIsRefused) {
  leases_.front().fence.counter += 1000;
  ASSERT_TRUE(report().ok());
  const std::vector<protocol::Verdict> verdicts = sent_to<protocol::Verdict>(1);
  ASSERT_EQ(verdicts.size(), 1u);
  EXPECT_NE(verdicts.front().failure.code, ErrorCode::kOk);
  EXPECT_TRUE(kept_.empty());
  EXPECT_EQ(released_, std::vector<BlobHandle>{partial()});
}

TEST_F(CoordinatorDriverWithAReport, EndsTheJobOnceWhenAnAcceptedBlobIsMissing) {
  keep_answer_ = Status(ErrorCode::kNotFound, "no such segment");
  ASSERT_TRUE(report().ok());
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_EQ(ends_.front().code, ErrorCode::kDataLoss);
  EXPECT_THAT(ends_.front().text, HasSubstr("no such segment"));
  ASSERT_TRUE(send(kRank, protocol::CancelJob{{ErrorCode::kCancelled, "stop"}}).ok());
  EXPECT_EQ(ends_.size(), 1u);
}

TEST_F(CoordinatorDriverWithAReport, EndsTheJobThatARankCancels) {
  ASSERT_TRUE(send(kRank, protocol::CancelJob{{ErrorCode::kCancelled, "stop"}}).ok());
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_EQ(ends_.front().code, ErrorCode::kCancelled);
  EXPECT_EQ(sent_to<protocol::JobFailed>(0).size(), 1u);
  EXPECT_EQ(sent_to<protocol::JobFailed>(1).size(), 1u);
}

TEST_F(CoordinatorDriverWithAReport, AddsTheStepsUp) {
  ASSERT_TRUE(report().ok());
  driver_.rank_left({0, 1});
  for (const std::uint64_t step : {2u, 3u}) {
    ASSERT_TRUE(send(kRank, protocol::EnterStep{step, 42, "a step"}).ok());
  }
  EXPECT_GE(driver_.totals().step_count, 2u);
  EXPECT_EQ(driver_.totals().shard_count, 1u);
  EXPECT_EQ(driver_.totals().input_bytes, 1000u);
}

}  // namespace
}  // namespace pinion
