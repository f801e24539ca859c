#include <pinion/runtime/launch.hpp>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch_spec.hpp"
#include "runtime/environment_guard.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

LaunchSpec example_spec() {
  return {.command = {"./program", "", "an argument", "caf\xe9", "line\nbreak"},
          .rank_count = 7,
          .map_by = RankMapping::kGpu,
          .bind_to = RankBinding::kCpuList,
          .allow_oversubscription = true,
          .cpus = {3, 5},
          .report_bindings = true,
          .on_failure = OnFailure::kContinue,
          .respawn_count_max = 9,
          .environment = {{"NAME", "a = \xff"}, {"EMPTY", ""}},
          .working_directory = "/tmp/\xff",
          .input_reader = InputReader::kNone,
          .tag_output = true,
          .timeout = std::chrono::milliseconds(1500),
          .debug_rank = 6,
          .settings = {{"trace", "/tmp/\xff"}, {"seed", "5"}}};
}

TEST(LaunchSpec, ArrivesAsItWasSent) {
  const LaunchSpec sent = example_spec();
  const Result<LaunchSpec> spec = decode_launch_spec(encode_launch_spec(sent));
  ASSERT_TRUE(spec.has_value()) << spec.error().to_string();
  EXPECT_EQ(spec->command, sent.command);
  EXPECT_EQ(spec->rank_count, sent.rank_count);
  EXPECT_EQ(spec->map_by, sent.map_by);
  EXPECT_EQ(spec->bind_to, sent.bind_to);
  EXPECT_EQ(spec->allow_oversubscription, sent.allow_oversubscription);
  EXPECT_EQ(spec->cpus, sent.cpus);
  EXPECT_EQ(spec->report_bindings, sent.report_bindings);
  EXPECT_EQ(spec->on_failure, sent.on_failure);
  EXPECT_EQ(spec->respawn_count_max, sent.respawn_count_max);
  EXPECT_EQ(spec->environment, sent.environment);
  EXPECT_EQ(spec->working_directory, sent.working_directory);
  EXPECT_EQ(spec->input_reader, sent.input_reader);
  EXPECT_EQ(spec->tag_output, sent.tag_output);
  EXPECT_EQ(spec->timeout, sent.timeout);
  EXPECT_EQ(spec->debug_rank, sent.debug_rank);
  EXPECT_EQ(spec->settings, sent.settings);
}

TEST(LaunchSpec, IsRefusedWhenItIsCutShort) {
  const std::string whole = encode_launch_spec(example_spec());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Result<LaunchSpec> spec = decode_launch_spec(std::string_view(whole).substr(0, size));
    ASSERT_FALSE(spec.has_value()) << size;
    EXPECT_EQ(spec.error().code(), ErrorCode::kInvalidArgument);
  }
}

TEST(LaunchSpec, IsRefusedWithoutAProgramOrARank) {
  LaunchSpec no_program = example_spec();
  no_program.command.clear();
  LaunchSpec no_rank = example_spec();
  no_rank.rank_count = 0;
  LaunchSpec no_such_rank = example_spec();
  no_such_rank.debug_rank = no_such_rank.rank_count;
  for (const LaunchSpec& spec : {no_program, no_rank, no_such_rank}) {
    EXPECT_EQ(decode_launch_spec(encode_launch_spec(spec)).error().code(),
              ErrorCode::kInvalidArgument);
  }
}

TEST(LaunchSettings, OverrideTheEnvironment) {
  EnvironmentGuard environment;
  environment.set("PINION_SEED", "4");
  environment.set("PINION_WORKERS", "2");
  const Result<Settings> settings = settings_of({.command = {"x"}, .settings = {{"seed", "5"}}});
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  EXPECT_EQ(settings->seed, 5u);
  EXPECT_EQ(settings->workers_per_rank, 2u);
  EXPECT_EQ(settings_of({.settings = {{"seed", "x"}}}).error().code(), ErrorCode::kInvalidArgument);
}

TEST(LaunchedRank, IsDescribedInWords) {
  EXPECT_EQ(describe_rank(0, {{{.cpus = {3}, .worker_count = 1}}}),
            "rank 0: 1 worker on NUMA node 0, CPUs 3");
  EXPECT_EQ(describe_rank(12, {{{.cpus = {3, 0, 1, 2, 8}, .worker_count = 5},
                                {.place = {.index = 1}, .worker_count = 2}}}),
            "rank 12: 5 workers on NUMA node 0, CPUs 0-3,8; 2 workers on NUMA node 1, not bound");
  EXPECT_EQ(describe_rank(1, {.groups = {{.worker_count = 2}},
                              .cpus = {0, 1, 2, 3},
                              .gpu = Place{PlaceKind::kDevice, 5, 0}}),
            "rank 1: 2 workers on NUMA node 0; all on CPUs 0-3; near GPU 5");
  const std::vector<WorkerGroup> divided = {
      {.worker_count = 2, .shared_cpus = {0, 1}},
      {.place = {.index = 1}, .worker_count = 1, .shared_cpus = {2, 3}}};
  const std::string words =
      "rank 2: 2 workers on NUMA node 0, all on CPUs 0-1; 1 worker on NUMA node 1, all on CPUs 2-3";
  EXPECT_EQ(describe_rank(2, {.groups = divided, .cpus = {0, 1, 2, 3}}), words);
  EXPECT_EQ(describe_rank(2, {.groups = divided}), words) << "as the rank itself knows it";
}

class Launch : public ::testing::Test {
 protected:
  // Makes a shell script the agent.
  void use_agent(const std::string& script) {
    const std::string path = folder_.write("agent", "#!/bin/sh\n" + script + "\n");
    ASSERT_EQ(::chmod(path.c_str(), 0700), 0);
    environment_.set("PINION_AGENT", path);
  }

  TemporaryFolder folder_;
  EnvironmentGuard environment_;
  const LaunchSpec spec_ = {.command = {"true"}};
};

TEST_F(Launch, NamesTheAgentThatIsNotThere) {
  const std::string path = (folder_ / "no-agent");
  environment_.set("PINION_AGENT", path);
  const Result<int> status = launch(spec_);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(status.error().message()),
              AllOf(HasSubstr("PINION_AGENT"), HasSubstr(path)));
}

TEST_F(Launch, NamesTheAgentThatCannotBeRun) {
  for (const std::string& path : {(folder_ / ""), folder_.write("data", "no program")}) {
    environment_.set("PINION_AGENT", path);
    const Result<int> status = launch(spec_);
    ASSERT_FALSE(status.has_value());
    EXPECT_EQ(status.error().code(), ErrorCode::kPermissionDenied);
    EXPECT_THAT(std::string(status.error().message()), HasSubstr(path));
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

// Nothing is beside this test, and nothing is installed where it was built.
TEST_F(Launch, SaysWhereItLookedForAnAgent) {
  const Result<int> status = launch(spec_);
  if (status.has_value()) {
    GTEST_SKIP() << "an installed pinion-agent was found";
  }
  EXPECT_EQ(status.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(status.error().message()),
              AllOf(HasSubstr("runtime_process_test"), HasSubstr("PINION_AGENT")));
}

TEST_F(Launch, PassesTheAgentsExitStatusOn) {
  for (const int expected : {0, 7, 127}) {
    use_agent("exit " + std::to_string(expected));
    const Result<int> status = launch(spec_);
    ASSERT_TRUE(status.has_value()) << status.error().to_string();
    EXPECT_EQ(*status, expected);
  }
  use_agent("kill -9 $$");
  EXPECT_EQ(*launch(spec_), 128 + SIGKILL);
}

TEST_F(Launch, HandsTheDescriptionToTheAgent) {
  const std::string seen = (folder_ / "seen");
  use_agent("cat /proc/self/fd/${1#--spec-fd=} > '" + seen + "' && exit 3");
  const LaunchSpec spec = example_spec();
  ASSERT_EQ(*launch(spec), 3);
  std::ifstream file(seen);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const Result<LaunchSpec> received = decode_launch_spec(text);
  ASSERT_TRUE(received.has_value()) << received.error().to_string();
  EXPECT_EQ(received->command, spec.command);
}

TEST_F(Launch, NoticesTheEndOfTheAgentWhereChildrenAreIgnored) {
  use_agent("exit 7");
  const auto before = ::signal(SIGCHLD, SIG_IGN);
  const Result<int> status = launch(spec_);
  ::signal(SIGCHLD, before);
  ASSERT_TRUE(status.has_value()) << status.error().to_string();
  EXPECT_EQ(*status, 7);
}

// A child of the agent's, in a session of its own, becomes ours when the agent is killed.
TEST_F(Launch, EndsWhatTheAgentLeaves) {
  const std::string seen = (folder_ / "seen");
  use_agent("setsid sleep 600 & echo $! > '" + seen + "'; kill -9 $$");
  const pid_t ours = ::fork();
  if (ours == 0) {
    ::pause();
    ::_exit(0);
  }
  EXPECT_EQ(*launch(spec_), 128 + SIGKILL);
  pid_t left = 0;
  std::ifstream(seen) >> left;
  ASSERT_GT(left, 0);
  EXPECT_EQ(::kill(left, 0), -1) << "process " << left << " runs on";
  EXPECT_EQ(::waitpid(ours, nullptr, WNOHANG), 0) << "a child of the caller was ended";
  ::kill(ours, SIGKILL);
  ASSERT_EQ(::waitpid(ours, nullptr, 0), ours);
}

TEST_F(Launch, LeavesTheSignalsAsTheyWere) {
  use_agent("exit 0");
  ASSERT_EQ(*launch(spec_), 0);
  sigset_t blocked;
  ASSERT_EQ(::sigprocmask(SIG_SETMASK, nullptr, &blocked), 0);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD}) {
    EXPECT_EQ(sigismember(&blocked, signal), 0) << signal;
  }
}

}  // namespace
}  // namespace pinion
