// A job with a journal whose agent is killed, at points of its own work that are counted or from
// outside, and resumed: the answer is that of a job that nothing happened to.
//
//   PINION_RESUME_CYCLES=200   how often an agent is killed at random, instead of 5

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"
#include "mp/word_corpus.hpp"
#include "small_disk.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::uint64_t kSeed = 2'024;
constexpr int kKilled = 128 + SIGKILL;

int cycle_count() {
  const char* const count = std::getenv("PINION_RESUME_CYCLES");
  return count != nullptr ? std::atoi(count) : 5;
}

class ResumedJob : public JobTest {
 protected:
  void SetUp() override { write_file(path("text"), corpus_.text); }

  [[nodiscard]] std::vector<std::string> words() const {
    return {WORD_PROGRAM, "4096", path("out"), path("text")};
  }

  // Its agent dies as it writes record `point` / 5 of its journal; 0 is never.
  [[nodiscard]] CommandResult run_until(std::uint64_t point, const std::string& how,
                                        const std::vector<std::string>& program,
                                        std::vector<std::string> options = {}) const {
    options.insert(options.end(), {how, path("journal"), "--set", "batch-shards=2", "--set",
                                   "test-journal-kill=" + std::to_string(point)});
    return run(on_ranks(2, program, options));
  }

  // Begins a job and resumes it until it ends by itself. The agents die at points that are drawn
  // from `random`. Returns the outputs of all of them; counts the deaths.
  std::string run_through_deaths(std::mt19937_64& random, std::uint64_t point_max,
                                 const std::vector<std::string>& program, int& death_count) const {
    fs::remove_all(path("journal"));
    std::string output;
    for (int epoch = 1; epoch <= 4; ++epoch) {
      const std::uint64_t point = epoch == 4 ? 0 : 1 + random() % point_max;
      SCOPED_TRACE("epoch " + std::to_string(epoch) + " dies at point " + std::to_string(point));
      const CommandResult result = run_until(
          point, epoch == 1 || !fs::exists(path("journal/manifest")) ? "--journal" : "--resume",
          program);
      output += result.output;
      EXPECT_TRUE(result.status == 0 || result.status == kKilled) << result.errors;
      if (result.status != kKilled) {
        return output;
      }
      ++death_count;
    }
    ADD_FAILURE() << "an agent died that was not to";
    return output;
  }

  const WordCorpus corpus_ = WordCorpus::of_seed(kSeed);
};

TEST_F(ResumedJob, HasTheAnswerWhereverItsAgentDied) {
  std::mt19937_64 random(kSeed);
  int death_count = 0;
  for (int trial = 0; death_count < cycle_count() && !HasFailure(); ++trial) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", trial " + std::to_string(trial));
    fs::remove(path("out"));
    static_cast<void>(run_through_deaths(random, 150, words(), death_count));
    EXPECT_EQ(read_file(path("out")), corpus_.counts);
  }
}

// From outside, when the grant log has some number of lines: also between its own commits.
TEST_F(ResumedJob, HasTheAnswerWheneverItsAgentWasKilled) {
  std::mt19937_64 random(kSeed + 1);
  for (int trial = 0; trial < cycle_count() && !HasFailure(); ++trial) {
    const std::size_t moment = 2 + random() % 60;
    SCOPED_TRACE("trial " + std::to_string(trial) + ": after " + std::to_string(moment) + " lines");
    fs::remove_all(path("journal"));
    fs::remove(path("grants"));
    fs::remove(path("out"));
    std::vector<std::string> options = grant_log_option();
    options.insert(options.end(), {"--journal", path("journal"), "--set", "batch-shards=2"});
    RunningCommand running(folder_, on_ranks(2, words(), options), environment());
    static_cast<void>(eventually([&] {
      const auto log = grant_log();
      const pid_t rank = log.empty() ? 0 : pid_of(log, log.front().at("rank"), 1);
      const pid_t agent = rank == 0 ? 0 : parent_of(rank);
      if (agent > 1 && agent != running.pid() && log.size() >= moment) {
        kill(agent, SIGKILL);
        return true;
      }
      return running.wait_for(std::chrono::seconds(0)).has_value();
    }));
    const std::optional<int> status = running.wait_for(std::chrono::seconds(60));
    EXPECT_TRUE(status == 0 || status == kKilled) << running.errors();
    const CommandResult resumed = run_until(0, "--resume", words());
    EXPECT_EQ(resumed.status, 0) << resumed.errors;
    EXPECT_EQ(read_file(path("out")), corpus_.counts);
  }
}

// Between the steps nothing is gathered: the handles of the first are part of the second.
TEST_F(ResumedJob, FindsTheDistributedResultsOfEarlierSteps) {
  std::mt19937_64 random(kSeed);
  fs::create_directory(path("folder"));
  const std::vector<std::string> program = {PIPELINE_PROGRAM, "20000", path("folder")};
  const std::string answer = run(on_ranks(2, program)).output;
  ASSERT_THAT(answer, Not(IsEmpty()));
  int death_count = 0;
  for (int trial = 0; death_count < cycle_count() && !HasFailure(); ++trial) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", trial " + std::to_string(trial));
    // It is printed at least once.
    EXPECT_THAT(run_through_deaths(random, 150, program, death_count), HasSubstr(answer));
  }
}

TEST_F(ResumedJob, DoesNotRunAgainWhatWasAccepted) {
  const CommandResult killed = run_until(100, "--journal", words(), grant_log_option());
  ASSERT_EQ(killed.status, kKilled) << killed.errors;
  const std::vector<std::uint64_t> before = accepted_shards(grant_log(), 1);
  ASSERT_THAT(before, Not(IsEmpty()));
  const CommandResult resumed = run_until(0, "--resume", words(), grant_log_option());
  ASSERT_EQ(resumed.status, 0) << resumed.errors;
  EXPECT_THAT(resumed.errors, HasSubstr("goes on, in epoch 2"));
  EXPECT_EQ(read_file(path("out")), corpus_.counts);
  // The log says of an acceptance when its rank is told: all of those were safe.
  for (const std::uint64_t shard : accepted_shards(grant_log(), 1)) {
    EXPECT_FALSE(std::binary_search(before.begin(), before.end(), shard)) << shard;
  }
}

TEST_F(ResumedJob, GoesOnWhereItsJournalWasCut) {
  const CommandResult killed = run_until(75, "--journal", words());
  ASSERT_EQ(killed.status, kKilled) << killed.errors;
  fs::rename(path("journal"), path("whole"));
  const std::string log = read_file(path("whole/log/1-0"));
  const std::size_t end = log.find_last_not_of('\0') + 1;
  ASSERT_GT(end, 1000U);
  // Every byte at the end of the log, where there is time for it.
  const std::size_t stride = cycle_count() >= 200 ? 1 : 83;
  for (std::size_t size = end - 600; size < end; size += stride) {
    SCOPED_TRACE("cut at byte " + std::to_string(size) + " of " + std::to_string(end));
    fs::remove_all(path("journal"));
    fs::remove(path("out"));
    fs::copy(path("whole"), path("journal"), fs::copy_options::recursive);
    fs::resize_file(path("journal/log/1-0"), size);
    const CommandResult resumed = run_until(0, "--resume", words());
    ASSERT_EQ(resumed.status, 0) << resumed.errors;
    ASSERT_EQ(read_file(path("out")), corpus_.counts);
  }
}

TEST_F(ResumedJob, IsStartedAsItWasWithoutAProgram) {
  std::vector<std::string> command =
      on_ranks(2, {GATED_PROGRAM, folder_.path()}, grant_log_option());
  command.insert(command.begin() + 2, {"--journal", path("journal")});
  RunningCommand running(folder_, command, environment());
  ASSERT_TRUE(bodies_have_begun());
  const CommandResult second = run({PINION_COMMAND, "run", "--resume", path("journal")});
  EXPECT_EQ(second.status, 78);
  EXPECT_THAT(second.errors, HasSubstr("is in use by process "));
  const pid_t agent = parent_of(pid_of(grant_log(), 0, 1));
  ASSERT_GT(agent, 1);
  kill(agent, SIGKILL);
  EXPECT_EQ(running.wait_for(std::chrono::seconds(60)), kKilled);
  write_file(path("gate"), "");
  const CommandResult resumed = run({PINION_COMMAND, "run", "--resume", path("journal")});
  EXPECT_EQ(resumed.status, 0) << resumed.errors;
  EXPECT_EQ(resumed.output, "the sum is 2016\n");
  EXPECT_THAT(resumed.errors, AllOf(HasSubstr("goes on, in epoch 2"), HasSubstr("2 ranks")));
}

TEST_F(ResumedJob, ThatHasEndedSaysSo) {
  ASSERT_EQ(run_until(0, "--journal", words()).status, 0);
  fs::remove(path("out"));
  for (int time = 0; time < 2; ++time) {
    const CommandResult resumed = run_until(0, "--resume", words());
    EXPECT_EQ(resumed.status, 0);
    EXPECT_THAT(resumed.errors, HasSubstr("has ended in good order; nothing is left to do"));
  }
  EXPECT_FALSE(fs::exists(path("out")));
}

TEST_F(ResumedJob, IsTheSameJob) {
  ASSERT_EQ(run_until(50, "--journal", words()).status, kKilled);
  std::vector<std::string> others = words();
  others.back() = path("another");
  const CommandResult refused = run_until(0, "--resume", others);
  EXPECT_EQ(refused.status, 78);
  EXPECT_THAT(refused.errors,
              AllOf(HasSubstr("the journal is of another job"), HasSubstr(path("another"))));
  const CommandResult begun = run_until(0, "--journal", words());
  EXPECT_EQ(begun.status, 78);
  EXPECT_THAT(begun.errors, HasSubstr("go on with it by pinion run --resume " + path("journal")));
  const CommandResult half = run({PINION_COMMAND, "run", "-n", "3", "--resume", path("journal")});
  EXPECT_EQ(half.status, 64);
  EXPECT_THAT(half.errors, HasSubstr("needs the program as well"));
  const CommandResult none = run({PINION_COMMAND, "run", "--resume", path("nothing")});
  EXPECT_EQ(none.status, 66);
  EXPECT_THAT(none.errors, HasSubstr("has no journal of a job"));
}

// With other ranks than it began with.
TEST_F(ResumedJob, MayHaveOtherRanks) {
  ASSERT_EQ(run_until(60, "--journal", words()).status, kKilled);
  const CommandResult resumed =
      run(on_ranks(3, words(), {"--resume", path("journal"), "--set", "batch-shards=1"}));
  EXPECT_EQ(resumed.status, 0) << resumed.errors;
  EXPECT_EQ(read_file(path("out")), corpus_.counts);
}

TEST_F(ResumedJob, GoesOnWhenTheDiskOfItsJournalHasRoomAgain) {
  if (const std::string obstacle = find_mount_obstacle(); !obstacle.empty()) {
    GTEST_SKIP() << "cannot mount a small disk here: " << obstacle;
  }
  fs::create_directory(path("disk"));
  const std::vector<std::string> program = {MANY_KEYS_PROGRAM, "20", "200000"};
  const std::string answer = run(on_ranks(2, program)).output;
  // The command on a small disk; and, where that has failed, on a larger one.
  std::vector<std::string> command = {"unshare",
                                      geteuid() == 0 ? "-m" : "-rm",
                                      "sh",
                                      "-c",
                                      "mount -t tmpfs -o size=20m none \"$0\" || exit 1; "
                                      "\"$@\" --journal \"$0/j\" -- " MANY_KEYS_PROGRAM
                                      " 20 200000; echo status $?; "
                                      "mount -o remount,size=500m none \"$0\" || exit 1; "
                                      "\"$@\" --resume \"$0/j\" -- " MANY_KEYS_PROGRAM " 20 200000",
                                      path("disk")};
  const std::vector<std::string> pinion_run = {
      PINION_COMMAND, "run", "-n", "2", "--oversubscribe", "--workers-per-rank", "1"};
  command.insert(command.end(), pinion_run.begin(), pinion_run.end());
  const CommandResult result = run(command);
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "status 71\n" + answer);
  EXPECT_THAT(
      result.errors,
      AllOf(HasSubstr("the journal cannot be kept, so nothing more is accepted"),
            HasSubstr("make room on the disk of the journal"), HasSubstr("No space left on device"),
            HasSubstr("is in memory"), HasSubstr("goes on, in epoch 2")));
}

TEST_F(ResumedJob, IsNotBegunWhereItsJournalHasNoRoom) {
  if (const std::string obstacle = find_mount_obstacle(); !obstacle.empty()) {
    GTEST_SKIP() << "cannot mount a small disk here: " << obstacle;
  }
  fs::create_directory(path("disk"));
  std::vector<std::string> command = {
      "unshare",
      geteuid() == 0 ? "-m" : "-rm",
      "sh",
      "-c",
      "mount -t tmpfs -o size=1m none \"$0\" || exit 1; exec \"$@\"",
      path("disk")};
  const std::vector<std::string> job = on_ranks(2, words(), {"--journal", path("disk/j")});
  command.insert(command.end(), job.begin(), job.end());
  const CommandResult result = run(command);
  EXPECT_EQ(result.status, 71);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("the journal cannot be kept"), HasSubstr("reserving room")));
  EXPECT_FALSE(fs::exists(path("out")));
}

}  // namespace
}  // namespace pinion
