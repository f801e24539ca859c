// Jobs in Slurm: ranks that srun has started, and `pinion run` in an allocation.

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/launched_job_test.hpp"
#include "mp/word_corpus.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kAnswer = "the sum is 2016\n";

class JobOfSrun : public JobOfAnyLauncher {
 protected:
  void SetUp() override {
    if (const std::string why = prepare(Launcher::kSrun, configuration()); !why.empty()) {
      GTEST_SKIP() << why;
    }
  }

  [[nodiscard]] virtual std::string configuration() const { return ""; }

  [[nodiscard]] RunningCommand start_gated(const std::vector<std::string>& options = {}) const {
    return RunningCommand(folder_, by(Launcher::kSrun, 2, {GATED_PROGRAM, path("")}, options),
                          launch_environment());
  }
  void open_gate() const { write_file(path("gate"), "open"); }
};

TEST_F(JobOfSrun, EndsWithARankThatDiesWhereThatIsWanted) {
  RunningCommand running = start_gated({"--kill-on-bad-exit=1"});
  ASSERT_TRUE(bodies_have_begun(2)) << running.errors();
  kill(pid_of(grant_log(), 1, 1), SIGKILL);
  // The greatest status of its tasks, of which the others are told to end, and then killed.
  EXPECT_THAT(running.wait_for(60s), testing::AnyOf(137, 143)) << running.errors();
  EXPECT_EQ(running.output(), "");
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

class JobOfStrictSlurm : public JobOfSrun {
 protected:
  [[nodiscard]] std::string configuration() const override { return "KillOnBadExit=1\n"; }
};

TEST_F(JobOfStrictSlurm, EndsWithARankThatDies) {
  RunningCommand running = start_gated();
  ASSERT_TRUE(bodies_have_begun(2)) << running.errors();
  kill(pid_of(grant_log(), 1, 1), SIGKILL);
  EXPECT_THAT(running.wait_for(60s), testing::AnyOf(137, 143)) << running.errors();
  EXPECT_EQ(running.output(), "");
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(JobOfSrun, GoesOnWithoutARankThatDiesWhereSlurmLetsIt) {
  RunningCommand running = start_gated({"--kill-on-bad-exit=0"});
  ASSERT_TRUE(bodies_have_begun(2)) << running.errors();
  kill(pid_of(grant_log(), 1, 1), SIGKILL);
  ASSERT_TRUE(has_said(running, "pinion: rank 1 has ended before the job")) << running.errors();
  open_gate();
  EXPECT_EQ(running.wait_for(60s), 137) << running.errors();
  EXPECT_EQ(running.output(), kAnswer);
  EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(JobOfSrun, EndsWithItsAgent) {
  RunningCommand running = start_gated();
  ASSERT_TRUE(bodies_have_begun(2)) << running.errors();
  const std::vector<pid_t> agents = this->agents();
  ASSERT_EQ(agents.size(), 1u);
  kill(agents[0], SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 69) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("the agent of this job is gone"));
}

TEST_F(JobOfSrun, LeavesNothingWhenSrunIsKilled) {
  RunningCommand running = start_gated();
  ASSERT_TRUE(bodies_have_begun(2)) << running.errors();
  kill(running.pid(), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(JobOfSrun, IsOneForEachProcessWithoutPmixAndSaysSo) {
  open_gate();
  const CommandResult result =
      run_command(folder_, {"srun", "--mpi=none", "--quiet", "-n", "2", GATED_PROGRAM, path("")},
                  launch_environment());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, std::string(kAnswer) + kAnswer);
  EXPECT_EQ(count_of("each of the 2 processes of this launch is a job of its own", result.errors),
            1u);
  EXPECT_THAT(result.errors, HasSubstr("srun --mpi=pmix"));
}

TEST_F(JobOfSrun, RunsOverSeveralHosts) {
  const WordCorpus corpus = WordCorpus::of_seed(4);
  write_file(path("text"), corpus.text);
  const CommandResult result =
      run_by(Launcher::kSrun, 4, on_hosts(2, {WORD_PROGRAM, "4000", path("out"), path("text")}));
  if (result.status == 76) {
    GTEST_SKIP() << result.errors;
  }
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(read_file(path("out")), corpus.counts);
  EXPECT_THAT(result.errors, HasSubstr("pinion: 4 ranks on 2 hosts, "));
}

class JobInAnAllocation : public JobOfSrun {
 protected:
  // `pinion run`, with more options, as a batch script of an allocation.
  [[nodiscard]] CommandResult run_in(const std::vector<std::string>& allocation,
                                     const std::vector<std::string>& run_options,
                                     const std::vector<std::string>& program) const {
    std::string script = std::string("#!/bin/sh\nexec ") + PINION_COMMAND +
                         " run --oversubscribe --workers-per-rank 1";
    for (const std::vector<std::string>& words : {run_options, program}) {
      for (const std::string& word : words) {
        script += " '" + word + "'";
      }
    }
    write_file(path("batch"), script + "\n");
    std::vector<std::string> command = {"sbatch",        "--wait",  "--quiet",   "--output",
                                        path("printed"), "--error", path("said")};
    command.insert(command.end(), allocation.begin(), allocation.end());
    command.push_back(path("batch"));
    CommandResult result = run_command(folder_, command, launch_environment());
    result.errors += read_file(path("said"));
    if (result.status != 0) {
      result.errors += launcher_log();
    }
    result.output += read_file(path("printed"));
    return result;
  }

  [[nodiscard]] static std::vector<std::string> sorted_lines(const std::string& text) {
    std::vector<std::string> lines = lines_of(text);
    std::sort(lines.begin(), lines.end());
    return lines;
  }
};

TEST_F(JobInAnAllocation, HasItsHostsAndTasks) {
  const CommandResult result =
      run_in({"--nodes=2", "--ntasks-per-node=2"}, {},
             {"sh", "-c", "echo $PINION_RANK $PINION_SIZE $PINION_HOST_ID $SLURMD_NODENAME"});
  if (result.status == 76) {
    GTEST_SKIP() << result.errors;
  }
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(sorted_lines(result.output),
              ElementsAre("0 4 0 n1", "1 4 0 n1", "2 4 1 n2", "3 4 1 n2"));
}

TEST_F(JobInAnAllocation, CountsWordsOverItsHosts) {
  const WordCorpus corpus = WordCorpus::of_seed(5);
  write_file(path("text"), corpus.text);
  const CommandResult result = run_in({"--nodes=2", "--ntasks-per-node=2"}, {},
                                      {WORD_PROGRAM, "4000", path("out"), path("text")});
  if (result.status == 76) {
    GTEST_SKIP() << result.errors;
  }
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(read_file(path("out")), corpus.counts);
  EXPECT_THAT(fence_violations(grant_log()), IsEmpty());
  EXPECT_THAT(result.errors, HasSubstr("pinion: 4 ranks on 2 hosts, "));
}

TEST_F(JobInAnAllocation, StartsFewerRanksWhereToldTo) {
  const CommandResult result =
      run_in({"--nodes=1", "--ntasks=4"}, {"-n", "3"}, {"sh", "-c", "echo $PINION_RANK"});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(sorted_lines(result.output), ElementsAre("0", "1", "2"));
}

TEST_F(JobInAnAllocation, HasTheExitStatusOfARankOfAnotherHost) {
  const CommandResult result =
      run_in({"--nodes=2", "--ntasks-per-node=1"}, {},
             {"sh", "-c", "if [ $PINION_RANK = 1 ]; then exit 3; fi; sleep 600"});
  if (result.status == 76) {
    GTEST_SKIP() << result.errors;
  }
  EXPECT_EQ(result.status, 3) << result.errors;
}

}  // namespace
}  // namespace pinion
