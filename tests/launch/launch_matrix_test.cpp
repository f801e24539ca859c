// The same program by each launcher: what is the same, and what each makes of a rank's death.

#include "launch/launched_job_test.hpp"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/word_corpus.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kAnswer = "the sum is 2016\n";

class LaunchMatrix : public JobOfAnyLauncher, public testing::WithParamInterface<Launcher> {
 protected:
  void SetUp() override {
    if (const std::string why = prepare(launcher()); !why.empty()) {
      GTEST_SKIP() << why;
    }
  }

  [[nodiscard]] static Launcher launcher() { return GetParam(); }
  [[nodiscard]] static std::size_t rank_count() { return launcher() == Launcher::kNone ? 1 : 2; }

  [[nodiscard]] CommandResult run_it(const std::vector<std::string>& program,
                                     const std::string& input = {}) const {
    return run_by(launcher(), rank_count(), program, input);
  }

  // Ranks that are in a body of gated_program until the gate opens.
  [[nodiscard]] RunningCommand start_gated(const std::vector<std::string>& options = {}) const {
    return RunningCommand(folder_, by(launcher(), rank_count(), {GATED_PROGRAM, path("")}, options),
                          launch_environment());
  }
  void open_gate() const { write_file(path("gate"), "open"); }

  [[nodiscard]] static std::string has_ended(std::size_t rank) {
    return "pinion: rank " + std::to_string(rank) + " has ended before the job";
  }

  // While the others are in a body.
  void expect_the_death_of(std::size_t rank) const {
    RunningCommand running = start_gated();
    ASSERT_TRUE(bodies_have_begun(rank_count())) << running.errors();
    const bool is_alone = launcher() == Launcher::kNone;
    kill(is_alone ? running.pid() : pid_of(grant_log(), rank, 1), SIGKILL);
    if (launcher() == Launcher::kPinion) {
      ASSERT_TRUE(eventually([&] { return pid_of(grant_log(), rank, 2) != 0; }))
          << running.errors();
      open_gate();
    } else if (launcher() == Launcher::kSrun) {
      ASSERT_TRUE(has_said(running, has_ended(rank))) << running.errors();
      open_gate();
    }
    const bool is_answered = launcher() == Launcher::kPinion || launcher() == Launcher::kSrun;
    EXPECT_EQ(running.wait_for(60s), launcher() == Launcher::kPinion ? 0 : 137) << running.errors();
    EXPECT_EQ(running.output(), is_answered ? kAnswer : "");
    EXPECT_TRUE(eventually([&] { return !something_runs(); }));
  }
};

TEST_P(LaunchMatrix, HasTheSameAnswer) {
  const WordCorpus corpus = WordCorpus::of_seed(1);
  write_file(path("text"), corpus.text);
  const CommandResult result = run_it({WORD_PROGRAM, "4000", path("out"), path("text")});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(read_file(path("out")), corpus.counts);
  EXPECT_THAT(fence_violations(grant_log()), IsEmpty());
}

TEST_P(LaunchMatrix, HasTheSameStandardOutput) {
  open_gate();
  const CommandResult result = run_it({GATED_PROGRAM, path("")});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, kAnswer);
}

TEST_P(LaunchMatrix, GivesStandardInputToRank0) {
  const WordCorpus corpus = WordCorpus::of_seed(2);
  const CommandResult result = run_it({WORD_PROGRAM, "4000", path("out"), "-"}, corpus.text);
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(read_file(path("out")), corpus.counts);
}

TEST_P(LaunchMatrix, HasTheExitStatusOfAProgramThatFails) {
  const CommandResult result = run_it({WORD_PROGRAM, "4000", path("out"), path("nothing")});
  EXPECT_EQ(result.status, 66) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("nothing"));
}

TEST_P(LaunchMatrix, EndsOnASignalAndLeavesNothing) {
  RunningCommand running = start_gated();
  ASSERT_TRUE(bodies_have_begun(rank_count())) << running.errors();
  kill(running.pid(), SIGTERM);
  const int own_status = launcher() == Launcher::kMpirun ? 1    // Whatever the ranks ended with.
                         : launcher() == Launcher::kSrun ? 137  // It kills them.
                                                         : 143;
  EXPECT_EQ(running.wait_for(60s), own_status) << running.errors();
  EXPECT_EQ(running.output(), "");
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_P(LaunchMatrix, HasTheExitStatusOfOneRankThatFails) {
  open_gate();
  const CommandResult result = run_it(
      {"sh", "-c", "\"$@\"; test \"${OMPI_COMM_WORLD_RANK:-${SLURM_PROCID:-1}}\" = 0 || exit 3",
       "sh", GATED_PROGRAM, path("")});
  EXPECT_EQ(result.status, 3) << result.errors;
}

// As docs/run.md has it.
TEST_P(LaunchMatrix, MakesOfTheDeathOfARankWhatItsLauncherDoes) {
  expect_the_death_of(rank_count() - 1);
}

// Which has started the agent, and which has the words of that.
TEST_P(LaunchMatrix, MakesOfTheDeathOfRank0WhatItDoesOfOthers) {
  expect_the_death_of(0);
}

// While the others are in a body.
TEST_P(LaunchMatrix, MakesOfTheErrorOfARankWhatItsLauncherDoes) {
  RunningCommand running = start_gated();
  ASSERT_TRUE(bodies_have_begun(rank_count())) << running.errors();
  const std::size_t rank = rank_count() - 1;
  write_file(path("fail." + std::to_string(rank)), "");
  if (launcher() == Launcher::kSrun) {
    ASSERT_TRUE(has_said(running, has_ended(rank))) << running.errors();
    open_gate();
  }
  EXPECT_EQ(running.wait_for(60s), 3) << running.errors();
  EXPECT_EQ(running.output(), launcher() == Launcher::kSrun ? kAnswer : "");
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

INSTANTIATE_TEST_SUITE_P(Each, LaunchMatrix,
                         testing::Values(Launcher::kNone, Launcher::kPinion, Launcher::kMpirun,
                                         Launcher::kSrun),
                         testing::PrintToStringParamName());

// A process on each of two hosts. What dies is of the second.
class LaunchMatrixOnHosts : public LaunchMatrix {
 protected:
  void SetUp() override {
    LaunchMatrix::SetUp();
    if (IsSkipped()) {
      return;
    }
    if (const CommandResult tried = run_it(on_hosts(2, {WORD_PROGRAM, "64", path("out"), "-"}));
        tried.status == 76) {
      GTEST_SKIP() << tried.errors;
    }
    fs::remove(path("grants"));
  }

  [[nodiscard]] RunningCommand start_gated_on_hosts() const {
    return RunningCommand(folder_, by(launcher(), 2, on_hosts(2, {GATED_PROGRAM, path("")})),
                          launch_environment());
  }

  // Slurm lets the others go on, and mpirun does not.
  void expect_its_end(RunningCommand& running, const std::string& words, int status) const {
    const bool is_answered = launcher() == Launcher::kSrun;
    if (is_answered) {
      ASSERT_TRUE(has_said(running, words)) << running.errors();
      open_gate();
    }
    EXPECT_EQ(running.wait_for(60s), status) << running.errors();
    EXPECT_EQ(running.output(), is_answered ? kAnswer : "");
    EXPECT_TRUE(eventually([&] { return !something_runs(); }));
  }
};

TEST_P(LaunchMatrixOnHosts, MakesOfTheDeathOfARankWhatItDoesOnOne) {
  RunningCommand running = start_gated_on_hosts();
  ASSERT_TRUE(bodies_have_begun(2)) << running.errors();
  kill(pid_of(grant_log(), 1, 1), SIGKILL);
  expect_its_end(running, has_ended(1), 137);
}

TEST_P(LaunchMatrixOnHosts, LosesAHostWithItsAgent) {
  RunningCommand running = start_gated_on_hosts();
  ASSERT_TRUE(bodies_have_begun(2)) << running.errors();
  const pid_t agent = agent_of_host(1);
  ASSERT_NE(agent, 0);
  kill(agent, SIGKILL);
  expect_its_end(running, "host 1 is lost: ", 69);
  EXPECT_THAT(running.errors(), HasSubstr("the agent of this job is gone"));
}

INSTANTIATE_TEST_SUITE_P(Each, LaunchMatrixOnHosts,
                         testing::Values(Launcher::kMpirun, Launcher::kSrun),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace pinion
