#include "grant_log.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "temporary_folder.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr LoggedRank kRank = {.rank = 3, .incarnation = 2};

std::vector<json> read_lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<json> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(json::parse(line, nullptr, false));
    EXPECT_FALSE(lines.back().is_discarded()) << line;
  }
  return lines;
}

std::vector<protocol::Lease> two_leases() {
  return {{.unit = 10, .fence = {1, 100}, .attempt = 1}, {.unit = 11, .fence = {1, 101}}};
}

class GrantLogLines : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<GrantLog> opened = GrantLog::open(path_);
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    log_ = std::move(opened).value();
  }

  // The only line so far, while the log is still open: a reader may follow it.
  json only_line() {
    const std::vector<json> lines = read_lines(path_);
    EXPECT_EQ(lines.size(), 1u);
    return lines.empty() ? json() : lines.front();
  }

  TemporaryFolder folder_;
  const std::string path_ = (folder_ / "grants.jsonl");
  GrantLog log_;
};

TEST_F(GrantLogLines, TellOfARankThatJoined) {
  log_.joined(kRank, 4321);
  EXPECT_EQ(only_line(),
            json::parse(R"json({"event":"joined","rank":3,"incarnation":2,"pid":4321})json"));
}

TEST_F(GrantLogLines, TellOfARankThatWasLost) {
  log_.lost(kRank, "killed by signal 9 (Killed)", true);
  EXPECT_EQ(only_line(), json::parse(R"json({"event":"lost","rank":3,"incarnation":2,
      "reason":"killed by signal 9 (Killed)","returns":true
})json"));
}

TEST_F(GrantLogLines, TellOfARankThatLeft) {
  log_.left(kRank);
  EXPECT_EQ(only_line(), json::parse(R"json({"event":"left","rank":3,"incarnation":2})json"));
}

TEST_F(GrantLogLines, TellWhatWasGranted) {
  log_.granted(kRank, {.step = 5, .stage = protocol::Stage::kMap, .leases = two_leases()});
  EXPECT_EQ(only_line(), json::parse(R"json({"event":"grant","rank":3,"incarnation":2,"step":5,
      "stage":"map","units":[10,11],"fences":[100,101]})json"));
}

TEST_F(GrantLogLines, LeaveOutAGrantOfNothing) {
  log_.granted(kRank, {.step = 5});
  EXPECT_TRUE(read_lines(path_).empty());
}

TEST_F(GrantLogLines, TellWhatWasAccepted) {
  log_.settled(kRank,
               {.step = 5,
                .stage = protocol::Stage::kMerge,
                .output = {.length_bytes = 77, .segment = 65537},
                .batch = two_leases()},
               {});
  EXPECT_EQ(only_line(), json::parse(R"json({"event":"accepted","rank":3,"incarnation":2,"step":5,
      "stage":"merge","units":[10,11],"fences":[100,101],"segment":65537,"bytes":77})json"));
}

TEST_F(GrantLogLines, TellWhatWasRefusedAndWhy) {
  log_.settled(kRank, {.step = 5, .batch = two_leases()},
               {.code = ErrorCode::kAborted, .text = "the step is over"});
  EXPECT_EQ(only_line(), json::parse(R"json({"event":"refused","rank":3,"incarnation":2,"step":5,
      "stage":"map","units":[10,11],"fences":[100,101],"segment":0,"bytes":0,
      "why":"the step is over"})json"));
}

TEST_F(GrantLogLines, TellWhichUnitSpoiledABatch) {
  log_.failed(kRank, {.step = 5,
                      .stage = protocol::Stage::kMap,
                      .bad_unit = 11,
                      .failure = {.code = ErrorCode::kDataLoss, .text = "a\nb \"c\""},
                      .batch = two_leases()});
  EXPECT_EQ(only_line(), json::parse(R"json({"event":"failed","rank":3,"incarnation":2,"step":5,
      "stage":"map","unit":11,"units":[10,11],"why":"a\nb \"c\""})json"));
}

TEST_F(GrantLogLines, TellWhoWasToldThatAStepIsDone) {
  log_.step_done(kRank, 5);
  EXPECT_EQ(only_line(),
            json::parse(R"json({"event":"done","rank":3,"incarnation":2,"step":5})json"));
}

TEST_F(GrantLogLines, TellWhoseMemoryWentToWhom) {
  log_.descriptor_passed(kRank, {.rank = 1, .incarnation = 4}, {.segment = 131072});
  EXPECT_EQ(only_line(), json::parse(R"json({"event":"descriptor","rank":3,"incarnation":2,
      "made_by_rank":1,"made_by_incarnation":4,"segment":131072})json"));
}

TEST_F(GrantLogLines, KeepTheirOrder) {
  log_.joined(kRank, 1);
  log_.step_done(kRank, 2);
  log_.left(kRank);
  std::vector<std::string> events;
  for (const json& line : read_lines(path_)) {
    events.push_back(line.at("event"));
  }
  EXPECT_THAT(events, ElementsAre("joined", "done", "left"));
}

// The words of a failure come from anywhere: a path need not be UTF-8.
TEST_F(GrantLogLines, StayValidWhateverTheWordsHold) {
  log_.lost(kRank, "cannot read caf\xe9\x01", false);
  EXPECT_THAT(only_line().at("reason").get<std::string>(), HasSubstr("cannot read caf"));
}

TEST(GrantLog, WritesNothingWhenItGoesNowhere) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  GrantLog log;
  log.joined(kRank, 1);
  log.lost(kRank, "gone", false);
  log.left(kRank);
  log.granted(kRank, {.leases = two_leases()});
  log.settled(kRank, {.batch = two_leases()}, {});
  log.failed(kRank, {.batch = two_leases()});
  log.step_done(kRank, 1);
  log.descriptor_passed(kRank, kRank, {});
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(GrantLog, NamesAPathThatCannotBeWritten) {
  const TemporaryFolder folder;
  const std::string path = (folder / "missing/grants.jsonl");
  const Result<GrantLog> opened = GrantLog::open(path);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(opened.error().message()), HasSubstr(path));
  EXPECT_FALSE(GrantLog::open((folder / "")).has_value());
}

TEST(GrantLog, StopsItsProcessAtTheLineThatATestNames) {
  const TemporaryFolder folder;
  const std::string path = (folder / "grants.jsonl");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    Result<GrantLog> opened = GrantLog::open(path, 2);
    for (int line = 0; opened && line < 3; ++line) {
      opened->left(kRank);
    }
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  EXPECT_TRUE(WIFSTOPPED(status)) << status;
  EXPECT_EQ(read_lines(path).size(), 2u);
  ::kill(child, SIGCONT);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_lines(path).size(), 3u);
}

TEST(GrantLog, BeginsAnew) {
  const TemporaryFolder folder;
  const std::string path = folder.write("grants.jsonl", "{\"event\":\"old\"}\n");
  {
    Result<GrantLog> opened = GrantLog::open(path);
    ASSERT_TRUE(opened.has_value());
    opened->left(kRank);
  }
  const std::vector<json> lines = read_lines(path);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines.front().at("event"), "left");
}

}  // namespace
}  // namespace pinion
