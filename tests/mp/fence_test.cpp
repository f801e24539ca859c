// A report that comes after its leases have run out and its shards have been accepted from another
// rank. Nothing but the sink's look at the fences keeps it out: with that switched off in the same
// program, the answer is wrong and an observer of the log sees why.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kRightAnswer = "the sum is 66016\n";

struct Story {
  std::optional<int> status;
  std::string output;
  std::string errors;
  std::string verdict;  // On the late report: "accepted" or "refused".
  std::vector<json> log;
};

class LateReport : public JobTest {
 protected:
  [[nodiscard]] std::optional<json> verdict_on_rank_1() const {
    for (const json& line : grant_log()) {
      if ((line.at("event") == "accepted" || line.at("event") == "refused") &&
          line.at("rank") == 1) {
        return line;
      }
    }
    return std::nullopt;
  }

  // From other ranks: rank 1 has been stopped before it could hand a report in.
  [[nodiscard]] bool first_grant_of_rank_1_is_accepted() const {
    const std::vector<json> log = grant_log();
    const auto grant = std::find_if(log.begin(), log.end(), [](const json& line) {
      return line.at("event") == "grant" && line.at("rank") == 1;
    });
    if (grant == log.end()) {
      return false;
    }
    const std::vector<std::uint64_t> accepted = accepted_shards(log, 1);
    const auto units = grant->at("units").get<std::vector<std::uint64_t>>();
    return std::all_of(units.begin(), units.end(), [&accepted](std::uint64_t unit) {
      return std::count(accepted.begin(), accepted.end(), unit) > 0;
    });
  }

  [[nodiscard]] Story tell(const std::string& fences_off) {
    std::vector<std::string> options = grant_log_option();
    options.insert(options.end(), {"--set", "batch-shards=1", "--set", "lease-seconds=1", "--set",
                                   "test-no-fences=" + fences_off});
    // Two workers each: one waits at the gate while the other goes on with what lies behind.
    RunningCommand running(folder_, on_ranks(3, {FENCE_PROGRAM, path("")}, options, 2),
                           environment());
    EXPECT_TRUE(eventually([this] { return first_grant_of_rank_1_is_accepted(); }))
        << running.errors();
    EXPECT_EQ(verdict_on_rank_1(), std::nullopt);
    const pid_t late = pid_of(grant_log(), 1, 1);
    EXPECT_TRUE(eventually([late] { return is_stopped(late); }));
    kill(late, SIGCONT);
    EXPECT_TRUE(eventually([this] { return verdict_on_rank_1().has_value(); }));
    Story story;
    story.verdict = verdict_on_rank_1().value_or(json()).value("event", "");
    write_file(path("gate"), "open");
    story.status = running.wait_for(std::chrono::seconds(60));
    story.output = running.output();
    story.errors = running.errors();
    story.log = grant_log();
    return story;
  }
};

TEST_F(LateReport, IsRefusedAndTheAnswerIsRight) {
  const Story story = tell("0");
  EXPECT_EQ(story.status, 0) << story.errors;
  EXPECT_EQ(story.verdict, "refused");
  EXPECT_EQ(story.output, kRightAnswer);
  EXPECT_EQ(accepted_shards(story.log, 1), each_once(64));
  EXPECT_THAT(fence_violations(story.log), IsEmpty());
}

TEST_F(LateReport, IsCountedTwiceWithoutTheSinksCheck) {
  const Story story = tell("1");
  EXPECT_EQ(story.verdict, "accepted");
  EXPECT_NE(story.output, kRightAnswer);
  EXPECT_THAT(fence_violations(story.log), Not(IsEmpty()));
}

}  // namespace
}  // namespace pinion
