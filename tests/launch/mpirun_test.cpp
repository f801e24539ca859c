// Jobs that mpirun starts: who dies, what follows, and that nothing stays.

#include <signal.h>

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
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kAnswer = "the sum is 2016\n";

class JobOfMpirun : public JobOfAnyLauncher {
 protected:
  void SetUp() override {
    if (const std::string why = prepare(Launcher::kMpirun); !why.empty()) {
      GTEST_SKIP() << why;
    }
  }

  [[nodiscard]] std::vector<std::string> mpirun(
      std::size_t rank_count, const std::vector<std::string>& program,
      const std::vector<std::string>& options = {}) const {
    return by(Launcher::kMpirun, rank_count, program, options);
  }

  [[nodiscard]] CommandResult run_it(const std::vector<std::string>& command,
                                     RunningCommand::Environment additions = {}) const {
    return run_command(folder_, command, launch_environment(std::move(additions)));
  }

  [[nodiscard]] RunningCommand start_gated(std::size_t rank_count,
                                           const std::vector<std::string>& options = {}) const {
    return RunningCommand(folder_, mpirun(rank_count, {GATED_PROGRAM, path("")}, options),
                          launch_environment());
  }
  void open_gate() const { write_file(path("gate"), "open"); }
};

TEST_F(JobOfMpirun, HasMoreRanksThanCpus) {
  const WordCorpus corpus = WordCorpus::of_seed(1);
  write_file(path("text"), corpus.text);
  const CommandResult result = run_it(mpirun(7, {WORD_PROGRAM, "4000", path("out"), path("text")}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(read_file(path("out")), corpus.counts);
  EXPECT_THAT(result.errors, HasSubstr("pinion: 7 ranks, "));
}

TEST_F(JobOfMpirun, RunsOverSeveralHosts) {
  const WordCorpus corpus = WordCorpus::of_seed(3);
  write_file(path("text"), corpus.text);
  for (const int host_count : {2, 3}) {
    const CommandResult result =
        run_it(mpirun(5, on_hosts(host_count, {WORD_PROGRAM, "4000", path("out"), path("text")})));
    if (result.status == 76) {
      GTEST_SKIP() << result.errors;
    }
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(read_file(path("out")), corpus.counts);
    EXPECT_THAT(result.errors,
                HasSubstr("pinion: 5 ranks on " + std::to_string(host_count) + " hosts, "));
    fs::remove(path("out"));
  }
}

TEST_F(JobOfMpirun, TakesSettingsFromTheProgramsArguments) {
  open_gate();
  const CommandResult result =
      run_it(mpirun(2, {GATED_PROGRAM, path(""), "--pinion-grant-log=" + path("other")}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(fence_violations(parse_log(read_file(path("other")))), IsEmpty());
  EXPECT_EQ(accepted_shards(parse_log(read_file(path("other"))), 1), each_once(64));
}

TEST_F(JobOfMpirun, CanBeFollowedByAnotherInTheSameRanks) {
  open_gate();
  const std::string program = std::string(GATED_PROGRAM) + " " + path("");
  const CommandResult result = run_it(mpirun(4, {"sh", "-c", program + " && " + program}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, std::string(kAnswer) + kAnswer);
}

// A connection that is cut makes the server of PMIx 4.2 count one process less from then on, and
// let whoever waits for "all" go on too early. Four, as a fence that names its processes still
// hangs once the server counts none, and it may lose count of one more at the end of each program.
TEST_F(JobOfMpirun, IsThatOfAllRanksAfterOneWasCutOffTheLauncher) {
  open_gate();
  const std::string once = std::string(GATED_PROGRAM) + " " + path("");
  // No rank goes on before the others have been cut off or have taken their leave.
  std::string all_gone = "[ -e " + path("gone.0");
  for (int rank = 1; rank < 4; ++rank) {
    all_gone += " -a -e " + path("gone." + std::to_string(rank));
  }
  std::string programs = std::string(CUT_OFF_PROGRAM) + " && : > " + path("gone.") +
                         "$PMIX_RANK && i=0 && until " + all_gone +
                         " ]; do i=$((i+1)); [ $i -lt 3000 ] || exit 1; sleep 0.01; done";
  std::string answers;
  for (int i = 0; i < 4; ++i) {
    programs += " && " + once;
    answers += kAnswer;
  }
  const CommandResult result = run_it(mpirun(4, {"sh", "-c", programs}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, answers);
}

TEST_F(JobOfMpirun, IsAloneWithOneRank) {
  open_gate();
  const CommandResult result = run_it(mpirun(1, {GATED_PROGRAM, path("")}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, kAnswer);
}

TEST_F(JobOfMpirun, DoesNotWaitForeverForAProgramThatMakesNoJob) {
  open_gate();
  std::vector<std::string> command = mpirun(1, {GATED_PROGRAM, path("")});
  command.insert(command.end(), {":", "-n", "1", "sleep", "600"});
  const CommandResult result = run_it(command, {{"PINION_JOIN_SECONDS", "0.5"}});
  EXPECT_EQ(result.status, 75) << result.errors;
  EXPECT_THAT(result.errors,
              HasSubstr("not every process that the launcher has started came to make its Job"));
}

TEST_F(JobOfMpirun, IsAClearErrorWithoutAnAgent) {
  const CommandResult result =
      run_it(mpirun(2, {GATED_PROGRAM, path("")}), {{"PINION_AGENT", path("nothing")}});
  EXPECT_EQ(result.status, 66) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("PINION_AGENT names " + path("nothing")));
}

TEST_F(JobOfMpirun, EndsWithARankThatDies) {
  RunningCommand running = start_gated(2);
  ASSERT_TRUE(bodies_have_begun(2)) << running.errors();
  kill(pid_of(grant_log(), 1, 1), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137) << running.errors();
  EXPECT_EQ(running.output(), "");
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(JobOfMpirun, LeavesNothingWhenMpirunIsKilled) {
  for (const std::size_t rank_count : {2u, 3u}) {
    RunningCommand running = start_gated(rank_count);
    ASSERT_TRUE(bodies_have_begun(rank_count)) << running.errors();
    kill(running.pid(), SIGKILL);
    EXPECT_EQ(running.wait_for(60s), 137);
    EXPECT_TRUE(eventually([&] { return !something_runs(); }));
    fs::remove(path("grants"));
    for (std::size_t rank = 0; rank < rank_count; ++rank) {
      fs::remove(path("body." + std::to_string(rank) + ".1"));
    }
  }
}

// The second host is this machine by another name, to which mpirun starts a daemon of its own.
TEST_F(JobOfMpirun, EndsWithTheDaemonOfAHostAndLeavesNothing) {
  write_file(path("shell"), "#!/bin/sh\nshift\nexec sh -c \"$*\"\n");
  fs::permissions(path("shell"), fs::perms::owner_all);
  const std::vector<std::string> options = {"--host",
                                            "localhost:1,127.0.0.2:1",
                                            "--map-by",
                                            "node",
                                            "--bind-to",
                                            "none",
                                            "--mca",
                                            "plm",
                                            "rsh",
                                            "--mca",
                                            "plm_rsh_agent",
                                            path("shell"),
                                            "--mca",
                                            "plm_rsh_no_tree_spawn",
                                            "1"};
  if (const CommandResult tried = run_it(mpirun(2, {"true"}, options)); tried.status != 0) {
    GTEST_SKIP() << "mpirun starts no daemon here: " << tried.errors;
  }
  RunningCommand running(folder_, mpirun(2, {GATED_PROGRAM, path("")}, options),
                         launch_environment());
  ASSERT_TRUE(bodies_have_begun(2)) << running.errors();
  const pid_t daemon = parent_of(pid_of(grant_log(), 1, 1));
  ASSERT_NE(daemon, running.pid());
  kill(daemon, SIGKILL);
  EXPECT_THAT(running.wait_for(60s), testing::Optional(testing::Gt(0))) << running.errors();
  EXPECT_EQ(running.output(), "");
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(JobOfMpirun, EndsWithItsAgent) {
  RunningCommand running = start_gated(2);
  ASSERT_TRUE(bodies_have_begun(2)) << running.errors();
  const std::vector<pid_t> agents = this->agents();
  ASSERT_EQ(agents.size(), 1u);
  kill(agents[0], SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 69) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("the agent of this job is gone"));
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

}  // namespace
}  // namespace pinion
