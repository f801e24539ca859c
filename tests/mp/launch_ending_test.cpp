// How a job ends: by time, by signals, by the failure of a rank, by the death of its agent; and
// that nothing is left, whatever the ranks have started.

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kAnswer = "the sum is 2016\n";

class JobEnding : public JobTest {
 protected:
  // $0 is the test's folder with a slash. A rank that runs begun() has its process in begun.RANK.
  [[nodiscard]] std::vector<std::string> shell(const std::string& script,
                                               const std::vector<std::string>& options = {}) const {
    const std::string begun =
        "begun() { echo $$ > $0/part.$PINION_RANK; mv $0/part.$PINION_RANK "
        "$0/begun.$PINION_RANK; }; ";
    return on_ranks(2, {"sh", "-c", begun + script, path("")}, options);
  }
  [[nodiscard]] bool ranks_have_begun() const {
    return eventually(
        [this] { return fs::exists(path("begun.0")) && fs::exists(path("begun.1")); });
  }
  [[nodiscard]] pid_t pid_of_rank(int rank) const {
    return static_cast<pid_t>(std::atoi(read_file(path("begun." + std::to_string(rank))).c_str()));
  }
  [[nodiscard]] bool nothing_runs() const {
    return eventually([this] { return !something_runs(); });
  }
};

TEST_F(JobEnding, ComesWhenTheTimeIsUp) {
  const CommandResult result = run(on_ranks(2, {"sleep", "600"}, {"--timeout", "0.2"}));
  EXPECT_EQ(result.status, 75);
  EXPECT_THAT(result.errors,
              HasSubstr("pinion: the job has not ended within 0.2 s (--timeout); it is ended"));
  EXPECT_FALSE(something_runs());
}

TEST_F(JobEnding, ComesWhenTheTimeIsUpForRanksThatIgnoreIt) {
  const CommandResult result = run(shell("trap '' TERM INT; while :; do sleep 600; done",
                                         {"--timeout", "0.2", "--set", "grace-seconds=0.2"}));
  EXPECT_EQ(result.status, 75);
  EXPECT_FALSE(something_runs());
}

TEST_F(JobEnding, IsNotTouchedByATimeThatIsNotUp) {
  const CommandResult result = run(on_ranks(2, {"true"}, {"--timeout", "600"}));
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.errors, "");
}

TEST_F(JobEnding, ByAbortComesAtTheFirstKill) {
  for (const char* const mode : {"abort", "respawn:0"}) {
    RunningCommand running(folder_,
                           on_ranks(2, {GATED_PROGRAM, path("")},
                                    {"--on-failure", mode, "--grant-log", path("grants")}),
                           environment());
    ASSERT_TRUE(bodies_have_begun()) << running.errors();
    kill(pid_of(grant_log(), 0, 1), SIGKILL);
    EXPECT_EQ(running.wait_for(60s), 137);
    EXPECT_THAT(running.errors(), HasSubstr("the job ends"));
    EXPECT_FALSE(something_runs());
    for (const char* const file : {"body.0.1", "body.1.1", "grants"}) {
      fs::remove(path(file));
    }
  }
}

TEST_F(JobEnding, IsLeftToTheOthersWhenTheyAreToContinue) {
  RunningCommand running(
      folder_,
      shell("if [ $PINION_RANK = 1 ]; then exit 3; fi; until [ -e $0/gate ]; do sleep 0.01; done; "
            "echo done; exit 4",
            {"--on-failure", "continue"}),
      environment());
  ASSERT_TRUE(eventually([&] {
    return running.errors().find("rank 1 ended with exit status 3; the others go on") !=
           std::string::npos;
  }));
  EXPECT_EQ(running.wait_for(0s), std::nullopt);
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 3) << "the first rank that failed";
  EXPECT_EQ(running.output(), "done\n");
}

TEST_F(JobEnding, HasTheAnswerOfTheOthersWhenTheyAreToContinue) {
  RunningCommand running(folder_,
                         on_ranks(2, {GATED_PROGRAM, path("")},
                                  {"--on-failure", "continue", "--grant-log", path("grants")}),
                         environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(pid_of(grant_log(), 1, 1), SIGKILL);
  ASSERT_TRUE(
      eventually([&] { return running.errors().find("the others go on") != std::string::npos; }));
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 137) << running.errors();
  EXPECT_EQ(running.output(), kAnswer);
  EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
  EXPECT_EQ(pid_of(grant_log(), 1, 2), 0) << "it was started again";
}

TEST_F(JobEnding, ByASignalLetsRanksTidyUp) {
  for (const auto& [signal, name] : {std::pair(SIGINT, "INT"), std::pair(SIGTERM, "TERM")}) {
    RunningCommand running(folder_,
                           shell("trap 'echo > $0/tidy.$PINION_RANK; exit 0' " + std::string(name) +
                                     "; begun; while :; do sleep 0.01; done",
                                 {"--set", "grace-seconds=60"}),
                           environment());
    ASSERT_TRUE(ranks_have_begun()) << running.errors();
    kill(running.pid(), signal);
    EXPECT_EQ(running.wait_for(60s), 128 + signal);
    for (const char* const file : {"tidy.0", "tidy.1", "begun.0", "begun.1"}) {
      EXPECT_TRUE(fs::remove(path(file))) << file;
    }
  }
}

TEST_F(JobEnding, PassesSigusr2On) {
  RunningCommand running(folder_,
                         shell("trap 'echo got; exit 0' USR2; begun; while :; do sleep 0.01; done"),
                         environment());
  ASSERT_TRUE(ranks_have_begun()) << running.errors();
  kill(running.pid(), SIGUSR2);
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), "got\ngot\n");
}

// The grace is so long that only the second signal can end it.
TEST_F(JobEnding, ComesAtOnceByASecondSigint) {
  RunningCommand running(folder_,
                         shell("trap 'echo > $0/int.$PINION_RANK' INT; trap '' TERM; begun; "
                               "while :; do sleep 0.01; done",
                               {"--set", "grace-seconds=100000"}),
                         environment());
  ASSERT_TRUE(ranks_have_begun()) << running.errors();
  kill(running.pid(), SIGINT);
  ASSERT_TRUE(
      eventually([this] { return fs::exists(path("int.0")) && fs::exists(path("int.1")); }));
  EXPECT_EQ(running.wait_for(0s), std::nullopt);
  kill(running.pid(), SIGINT);
  EXPECT_EQ(running.wait_for(60s), 130);
  EXPECT_FALSE(something_runs());
}

TEST_F(JobEnding, BySigtermKillsTheGroupsOfRanksThatIgnoreIt) {
  RunningCommand running(
      folder_,
      shell("trap '' TERM; sleep 600 & sleep 600 & begun; wait", {"--set", "grace-seconds=0.2"}),
      environment());
  ASSERT_TRUE(ranks_have_begun()) << running.errors();
  kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait_for(60s), 143);
  EXPECT_FALSE(something_runs());
}

// In groups, and in sessions of their own, and deaf.
constexpr const char* kFamily =
    "trap '' TERM INT HUP; (trap '' TERM INT HUP; sleep 600 & wait) & "
    "setsid sh -c 'trap \"\" TERM INT HUP; sleep 600 & wait' & begun; wait; wait";

TEST_F(JobEnding, ByTheDeathOfTheAgentLeavesNoGrandchild) {
  RunningCommand running(folder_, shell(kFamily), environment());
  ASSERT_TRUE(ranks_have_begun()) << running.errors();
  const pid_t agent = parent_of(pid_of_rank(0));
  ASSERT_GT(agent, 1);
  kill(agent, SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_FALSE(something_runs()) << "the command has ended before its processes";
}

TEST_F(JobEnding, ByTheDeathOfTheLauncherLeavesNoGrandchild) {
  RunningCommand running(folder_, shell(kFamily), environment());
  ASSERT_TRUE(ranks_have_begun()) << running.errors();
  kill(running.pid(), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_TRUE(nothing_runs());
}

TEST_F(JobEnding, ByTheDeathOfTheLauncherComesToAStoppedAgentToo) {
  RunningCommand running(folder_, shell(kFamily), environment());
  ASSERT_TRUE(ranks_have_begun()) << running.errors();
  kill(parent_of(pid_of_rank(0)), SIGSTOP);
  kill(running.pid(), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_TRUE(nothing_runs());
}

TEST_F(JobEnding, ByTheDeathOfARankLeavesNoGrandchild) {
  RunningCommand running(folder_, shell(kFamily, {"--set", "grace-seconds=0.2"}), environment());
  ASSERT_TRUE(ranks_have_begun()) << running.errors();
  kill(pid_of_rank(1), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_FALSE(something_runs());
}

}  // namespace
}  // namespace pinion
