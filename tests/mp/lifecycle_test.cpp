// Signals, deaths and stops of every process of a job while its ranks work.

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr const char* kAnswer = "the sum is 2016\n";

class WorkingJob : public JobTest {
 protected:
  [[nodiscard]] std::vector<std::string> command(std::vector<std::string> options = {}) const {
    const std::vector<std::string> log = grant_log_option();
    options.insert(options.end(), log.begin(), log.end());
    return on_ranks(2, {GATED_PROGRAM, path("")}, options);
  }
  void open_gate() const { write_file(path("gate"), "open"); }

  // The status of `pinion run` after it was sent `signal` while both ranks were in bodies.
  [[nodiscard]] std::optional<int> status_after(int signal) {
    RunningCommand running(folder_, command(), environment());
    EXPECT_TRUE(bodies_have_begun()) << running.errors();
    kill(running.pid(), signal);
    return running.wait_for(60s);
  }

  [[nodiscard]] pid_t pid_of_rank(std::uint64_t rank, std::uint64_t incarnation = 1) const {
    return pid_of(grant_log(), rank, incarnation);
  }
};

TEST_F(WorkingJob, EndsOnSigint) {
  EXPECT_EQ(status_after(SIGINT), 130);
  EXPECT_FALSE(something_runs());
}

TEST_F(WorkingJob, EndsOnSigterm) {
  EXPECT_EQ(status_after(SIGTERM), 143);
  EXPECT_FALSE(something_runs());
}

TEST_F(WorkingJob, EndsOnSighup) {
  EXPECT_EQ(status_after(SIGHUP), 129);
  EXPECT_FALSE(something_runs());
}

TEST_F(WorkingJob, EndsOnSigtermThoughARankIsStopped) {
  RunningCommand running(folder_, command(), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(pid_of_rank(1), SIGSTOP);
  kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait_for(60s), 143);
  EXPECT_FALSE(something_runs());
}

TEST_F(WorkingJob, PassesSigusr1OnToTheRanks) {
  RunningCommand running(folder_, command(), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(running.pid(), SIGUSR1);
  for (const char* const file : {"usr1.0", "usr1.1"}) {
    EXPECT_TRUE(eventually([&] { return std::filesystem::exists(path(file)); })) << file;
  }
  open_gate();
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), kAnswer);
}

TEST_F(WorkingJob, EndsWholeWhenTheLauncherIsKilled) {
  EXPECT_EQ(status_after(SIGKILL), 137);
  EXPECT_TRUE(eventually([this] { return !something_runs(); }));
}

TEST_F(WorkingJob, EndsWholeWhenTheAgentIsKilled) {
  RunningCommand running(folder_, command(), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const pid_t agent = parent_of(pid_of_rank(0));
  ASSERT_GT(agent, 1);
  kill(agent, SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_THAT(running.errors(), HasSubstr("the agent of this job was killed by signal 9"));
  EXPECT_TRUE(eventually([this] { return !something_runs(); }));
}

// A rank that a script has started is no child of the agent, so the kernel does not end it.
TEST_F(WorkingJob, EndsRanksInScriptsWhenTheAgentIsKilled) {
  RunningCommand running(
      folder_,
      on_ranks(2, {"sh", "-c", "\"$0\" \"$1\"; exit $?", GATED_PROGRAM, path("")},
               grant_log_option()),
      environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const pid_t agent = parent_of(pid_of_rank(0));
  ASSERT_EQ(parent_of(agent), running.pid()) << "that is not the agent";
  kill(agent, SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_THAT(running.errors(), HasSubstr("the agent of this job was killed by signal 9"));
  EXPECT_TRUE(eventually([this] { return !something_runs(); }));
}

// It has joined and holds nothing; each life is killed as soon as it is there.
TEST_F(WorkingJob, EndsWhenARankIsKilledOnceMoreThanItIsStartedAgain) {
  RunningCommand running(
      folder_,
      on_ranks(2, {ABSENT_PROGRAM, "1", "joins-late", path("gate"), "-"}, grant_log_option()),
      environment());
  for (std::uint64_t incarnation = 1; incarnation <= 4; ++incarnation) {
    ASSERT_TRUE(eventually([&] { return pid_of_rank(1, incarnation) != 0; })) << running.errors();
    kill(pid_of_rank(1, incarnation), SIGKILL);
  }
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_THAT(running.errors(), HasSubstr("starting it again (3 of 3)"));
  EXPECT_THAT(running.errors(), HasSubstr("pinion: rank 1 was killed by signal 9"));
  EXPECT_THAT(running.errors(), HasSubstr("the job ends"));
  EXPECT_FALSE(something_runs());
}

// As when the keyboard interrupts rank 0, which has the terminal, before the command hears of it.
TEST_F(WorkingJob, EndsWhenASignalOfTheTerminalEndsARank) {
  for (const int signal : {SIGINT, SIGHUP}) {
    RunningCommand running(folder_, command(), environment());
    ASSERT_TRUE(bodies_have_begun()) << running.errors();
    kill(pid_of_rank(0), signal);
    EXPECT_EQ(running.wait_for(60s), 128 + signal);
    EXPECT_FALSE(something_runs());
    EXPECT_EQ(pid_of_rank(0, 2), 0) << "it was started again";
    for (const char* const file : {"body.0.1", "body.1.1", "grants"}) {
      std::filesystem::remove(path(file));
    }
  }
}

// Units of step 1 whose lease went from rank 1 to rank 0.
std::size_t taken_from_rank_1(const std::vector<json>& log) {
  std::vector<std::uint64_t> of_rank_1;
  std::size_t count = 0;
  for (const json& line : log) {
    if (line.at("event") != "grant" || line.at("step") != 1 || line.at("stage") != "map") {
      continue;
    }
    for (const json& unit : line.at("units")) {
      const auto number = unit.get<std::uint64_t>();
      if (line.at("rank") == 1) {
        of_rank_1.push_back(number);
      } else {
        count += std::count(of_rank_1.begin(), of_rank_1.end(), number) > 0 ? 1 : 0;
      }
    }
  }
  return count;
}

TEST_F(WorkingJob, TakesTheLeasesOfAStoppedRankAndEachShardCountsOnce) {
  std::vector<std::string> options = grant_log_option();
  options.insert(options.end(), {"--set", "lease-seconds=0.3", "--set", "batch-shards=2"});
  RunningCommand running(folder_, on_ranks(2, {GATED_PROGRAM, path("")}, options), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const pid_t stopped = pid_of_rank(1);
  kill(stopped, SIGSTOP);
  open_gate();
  EXPECT_TRUE(eventually([this] { return taken_from_rank_1(grant_log()) > 0; }));
  kill(stopped, SIGCONT);
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), kAnswer);
  EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
}

// Standard input of the job is a pipe that the test fills. The rank that reads it is killed.
class StandardInput : public WorkingJob {
 protected:
  void SetUp() override {
    for (int line = 0; line < 1000; ++line) {
      text_ += "four words a line\n";
    }
    ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
    pipe_ = open(path("pipe").c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(pipe_, 0);
  }
  void TearDown() override {
    close(pipe_);
    WorkingJob::TearDown();
  }

  [[nodiscard]] std::vector<std::string> counting(std::vector<std::string> options = {}) const {
    const std::vector<std::string> log = grant_log_option();
    options.insert(options.end(), log.begin(), log.end());
    options.insert(options.end(), {"--set", "batch-shards=1"});
    std::vector<std::string> shell = {"sh", "-c", "exec \"$@\" < \"$0\"", path("pipe")};
    const std::vector<std::string> job =
        on_ranks(2, {WORD_PROGRAM, "64", path("out"), "-"}, options);
    shell.insert(shell.end(), job.begin(), job.end());
    return shell;
  }

  void give(const std::string& text) const {
    ASSERT_EQ(write(pipe_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  [[nodiscard]] bool is_read() const {
    return eventually([this] {
      int waiting = 0;
      return ioctl(pipe_, FIONREAD, &waiting) == 0 && waiting == 0;
    });
  }
  void end_of_input() { close(std::exchange(pipe_, -1)); }

  std::string text_;
  int pipe_ = -1;
};

TEST_F(StandardInput, SurvivesTheRankThatHasReadIt) {
  // Of 280 shards, one a batch, some are accepted by then and most are not.
  RunningCommand running(folder_, counting(stop_option(60)), environment());
  give(text_);
  ASSERT_TRUE(is_read());
  end_of_input();
  const pid_t agent = stopped_agent(running);
  ASSERT_NE(agent, 0) << running.errors();
  EXPECT_FALSE(accepted_shards(grant_log(), 1).empty());
  kill(pid_of_rank(0), SIGKILL);
  kill(agent, SIGCONT);
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(read_file(path("out")), "a 1000\nfour 1000\nline 1000\nwords 1000\n");
  EXPECT_THAT(running.errors(), HasSubstr("rank 0 was killed by signal 9"));
}

// Nobody can read again what the dead rank had taken from the pipe.
TEST_F(StandardInput, ThatIsHalfReadByARankThatDiesIsAnErrorNotAWrongAnswer) {
  RunningCommand running(folder_, counting(), environment());
  give(text_.substr(0, text_.size() / 2));
  ASSERT_TRUE(eventually([this] { return pid_of_rank(0) != 0; })) << running.errors();
  ASSERT_TRUE(is_read());
  kill(pid_of_rank(0), SIGKILL);
  give(text_.substr(text_.size() / 2));
  end_of_input();
  EXPECT_EQ(running.wait_for(60s), 69) << running.errors();
  EXPECT_FALSE(std::filesystem::exists(path("out"))) << read_file(path("out"));
  EXPECT_THAT(running.errors(), HasSubstr("standard input (-) is asked for"));
}

}  // namespace
}  // namespace pinion
