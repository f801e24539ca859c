// Jobs over several hosts with a journal, whose head is killed, with or without the others, and
// which are resumed on the same hosts or on others: the answer is that of a job that nothing
// happened to.
//
//   PINION_RESUME_CYCLES=200   how often a head is killed at random, instead of 5

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/word_corpus.hpp"
#include "net/job_on_hosts.hpp"
#include "small_disk.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::uint64_t kSeed = 2'025;
constexpr int kKilled = 128 + SIGKILL;

int cycle_count() {
  const char* const count = std::getenv("PINION_RESUME_CYCLES");
  return count != nullptr ? std::atoi(count) : 5;
}

class ResumedJobOnHosts : public JobOnHosts {
 protected:
  void SetUp() override {
    JobOnHosts::SetUp();
    write_file(path("text"), corpus_.text);
  }

  [[nodiscard]] std::vector<std::string> words() const {
    return {WORD_PROGRAM, "4096", path("out"), path("text")};
  }

  // On as many ranks of each host; the head dies as it writes record `point` / 5 of the journal,
  // never for 0.
  [[nodiscard]] CommandResult run_until(std::uint64_t point, const std::string& how,
                                        const std::vector<std::string>& program,
                                        const std::vector<int>& ranks = {1, 1},
                                        std::vector<std::string> options = {}) {
    options.insert(options.end(), {how, path("journal"), "--set", "batch-shards=2", "--set",
                                   "test-journal-kill=" + std::to_string(point)});
    return run(on_hosts(ranks, program, options));
  }

  // Begins a job on two hosts and resumes it on others until it ends by itself; the heads die at
  // points that are drawn from `random`. Returns the outputs of all of them; counts the deaths.
  std::string run_through_deaths(std::mt19937_64& random, const std::vector<std::string>& program,
                                 int& death_count) {
    static const std::vector<int> kRanks[] = {{1, 1}, {2}, {1, 1, 1}, {1, 2}};
    fs::remove_all(path("journal"));
    std::string output;
    for (int epoch = 1; epoch <= 4; ++epoch) {
      const std::uint64_t point = epoch == 4 ? 0 : 1 + random() % 150;
      const std::size_t which = epoch == 1 ? 0 : random() % std::size(kRanks);
      SCOPED_TRACE("epoch " + std::to_string(epoch) + ", on hosts " + std::to_string(which) +
                   ", dies at point " + std::to_string(point));
      const bool begins = !fs::exists(path("journal/manifest"));
      const CommandResult result =
          run_until(point, begins ? "--journal" : "--resume", program, kRanks[which]);
      output += result.output;
      EXPECT_TRUE(result.status == 0 || result.status == kKilled) << result.errors;
      if (result.status != kKilled) {
        return output;
      }
      ++death_count;
    }
    ADD_FAILURE() << "a head died that was not to";
    return output;
  }

  const WordCorpus corpus_ = WordCorpus::of_seed(kSeed);
};

TEST_F(ResumedJobOnHosts, HasTheAnswerWhereverItsHeadDied) {
  std::mt19937_64 random(kSeed);
  int death_count = 0;
  for (int trial = 0; death_count < cycle_count() && !HasFailure(); ++trial) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", trial " + std::to_string(trial));
    fs::remove(path("out"));
    static_cast<void>(run_through_deaths(random, words(), death_count));
    EXPECT_EQ(read_file(path("out")), corpus_.counts);
  }
}

// What lay on another host is pulled from the head by the ranks that map it there.
TEST_F(ResumedJobOnHosts, FindsTheDistributedResultsOfEarlierSteps) {
  std::mt19937_64 random(kSeed + 1);
  fs::create_directory(path("folder"));
  const std::vector<std::string> program = {PIPELINE_PROGRAM, "20000", path("folder")};
  const std::string answer = run(on_hosts({1, 1}, program)).output;
  ASSERT_THAT(answer, Not(IsEmpty()));
  int death_count = 0;
  for (int trial = 0; death_count < cycle_count() && !HasFailure(); ++trial) {
    SCOPED_TRACE("seed " + std::to_string(kSeed + 1) + ", trial " + std::to_string(trial));
    // It is printed at least once.
    EXPECT_THAT(run_through_deaths(random, program, death_count), HasSubstr(answer));
  }
}

// The agents of all hosts and the command, at a moment of the head's log.
TEST_F(ResumedJobOnHosts, HasTheAnswerWhenAllWereKilledAtOnce) {
  for (const std::size_t moment : {4u, 11u, 19u, 33u, 47u}) {
    SCOPED_TRACE("after " + std::to_string(moment) + " lines");
    for (const char* const name : {"journal", "grants", "out"}) {
      fs::remove_all(path(name));
    }
    std::vector<std::string> options = grant_log_option();
    for (const std::string& option : stop_option(moment)) {
      options.push_back(option);
    }
    options.insert(options.end(), {"--journal", path("journal"), "--set", "batch-shards=2"});
    RunningCommand running(folder_, on_hosts({1, 1}, words(), options), environment());
    const pid_t head = stopped_agent(running);
    ASSERT_GT(head, 1) << running.errors();
    const pid_t other = agent_of_rank(1);
    kill(running.pid(), SIGKILL);
    kill(-head, SIGKILL);
    if (other != 0) {
      kill(other, SIGKILL);
    }
    EXPECT_EQ(running.wait_for(60s), kKilled);
    // Nobody has waited for the head: it may have the lock of the journal for a moment yet.
    ASSERT_TRUE(eventually([&] { return !something_runs(); }));
    const CommandResult resumed = run_until(0, "--resume", words());
    EXPECT_EQ(resumed.status, 0) << resumed.errors;
    EXPECT_THAT(resumed.errors, HasSubstr("goes on, in epoch 2"));
    EXPECT_EQ(read_file(path("out")), corpus_.counts);
  }
}

TEST_F(ResumedJobOnHosts, DoesNotRunAgainWhatAnotherHostHasReported) {
  const CommandResult killed = run_until(120, "--journal", words(), {1, 1}, grant_log_option());
  ASSERT_EQ(killed.status, kKilled) << killed.errors;
  const std::vector<std::uint64_t> before = accepted_shards(grant_log(), 1);
  ASSERT_THAT(before, Not(IsEmpty()));
  const CommandResult resumed = run_until(0, "--resume", words(), {1, 1}, grant_log_option());
  ASSERT_EQ(resumed.status, 0) << resumed.errors;
  EXPECT_EQ(read_file(path("out")), corpus_.counts);
  // The log says of an acceptance when its rank is told: all of those were safe, also the outputs
  // of the other host.
  for (const std::uint64_t shard : accepted_shards(grant_log(), 1)) {
    EXPECT_FALSE(std::binary_search(before.begin(), before.end(), shard)) << shard;
  }
}

// First another host, then the head. What that host had made before the head died for the first
// time is with the head since, and stays.
TEST_F(ResumedJobOnHosts, HasTheAnswerAfterTheLossOfAnotherHost) {
  const std::vector<std::string> program = {GATED_PROGRAM, path("")};
  write_file(path("gate"), "open");
  ASSERT_EQ(run_until(60, "--journal", program).status, kKilled);
  for (const char* const name : {"gate", "body.0.1", "body.1.1"}) {
    fs::remove(path(name));
  }
  std::vector<std::string> options = grant_log_option();
  options.insert(options.end(), {"--resume", path("journal"), "--set", "batch-shards=2", "--set",
                                 "test-journal-kill=100"});
  RunningCommand running(folder_, on_hosts({1, 1}, program, options), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(agent_of_rank(1), SIGKILL);
  ASSERT_TRUE(eventually([&] {
    return running.errors().find("host 1 is lost: b: ") != std::string::npos;
  })) << running.errors();
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), kKilled) << running.errors();
  const CommandResult resumed = run_until(0, "--resume", program, {1, 1, 1});
  EXPECT_EQ(resumed.status, 0) << resumed.errors;
  EXPECT_EQ(resumed.output, "the sum is 2016\n");
}

TEST_F(ResumedJobOnHosts, IsStartedAsItWasWithoutAProgram) {
  ASSERT_EQ(run_until(60, "--journal", words()).status, kKilled);
  const CommandResult resumed = run({PINION_COMMAND, "run", "--resume", path("journal")});
  // It dies where it did before: the settings are part of how it was started.
  EXPECT_EQ(resumed.status, kKilled) << resumed.errors;
  EXPECT_THAT(resumed.errors, HasSubstr("goes on, in epoch 2"));
  const CommandResult again = run_until(0, "--resume", words());
  EXPECT_EQ(again.status, 0) << again.errors;
  EXPECT_THAT(again.errors, HasSubstr("on 2 hosts"));
  EXPECT_EQ(read_file(path("out")), corpus_.counts);
  const CommandResult over = run_until(0, "--resume", words());
  EXPECT_EQ(over.status, 0);
  EXPECT_THAT(over.errors, HasSubstr("has ended in good order; nothing is left to do"));
}

TEST_F(ResumedJobOnHosts, GoesOnWhenTheDiskOfItsJournalHasRoomAgain) {
  if (const std::string obstacle = find_mount_obstacle(); !obstacle.empty()) {
    GTEST_SKIP() << "cannot mount a small disk here: " << obstacle;
  }
  fs::create_directory(path("disk"));
  const std::vector<std::string> program = {MANY_KEYS_PROGRAM, "20", "200000"};
  const std::string answer = run(on_hosts({1, 1}, program)).output;
  ASSERT_THAT(answer, Not(IsEmpty()));
  // The job on a small disk; and, where that has failed, on a larger one.
  const auto job = [&](const char* how) {
    std::string words;
    for (const std::string& word : on_hosts({1, 1}, program, {how, path("disk/j")})) {
      words += "'" + word + "' ";
    }
    return words;
  };
  const CommandResult result =
      run({"unshare", geteuid() == 0 ? "-m" : "-rm", "sh", "-c",
           "mount -t tmpfs -o size=20m none " + path("disk") + " || exit 1; " + job("--journal") +
               "; echo status $?; mount -o remount,size=500m none " + path("disk") +
               " || exit 1; " + job("--resume")});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "status 71\n" + answer);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("the journal cannot be kept, so nothing more is accepted"),
                    HasSubstr("No space left on device"), HasSubstr("goes on, in epoch 2")));
}

}  // namespace
}  // namespace pinion
