#include "launch/start_agent.hpp"

#include <unistd.h>

#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_runner.hpp"
#include "runtime/environment_guard.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;

// An agent whose place a script takes.
class StartedAgent : public testing::Test {
 protected:
  void use_script(const std::string& text) {
    write_file(folder_ / "agent", "#!/bin/sh\n" + text);
    std::filesystem::permissions(folder_ / "agent", std::filesystem::perms::owner_all);
    environment_.set("PINION_AGENT", folder_ / "agent");
  }

  [[nodiscard]] static LaunchedHost some_host() {
    LaunchedHost host;
    host.spec.command = {"program"};
    host.processes = {{.pid = getpid()}};
    return host;
  }

  TemporaryFolder folder_;
  EnvironmentGuard environment_;
};

TEST_F(StartedAgent, GetsADescriptionAndAnswersAndIsNobodysChild) {
  AgentReport answer;
  answer.socket = "name of a socket";
  write_file(folder_ / "answer", encode_agent_report(answer));
  // "--launched=DESCRIPTION,REPORT"
  use_script("numbers=${1#--launched=}\ncat /proc/self/fd/${numbers%,*} > " +
             (folder_ / "description") + "\necho $PPID > " + (folder_ / "parent") + "\ncat " +
             (folder_ / "answer") + " > /proc/self/fd/${numbers#*,}\n");
  const Result<AgentReport> report = start_agent(some_host());
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_EQ(report->socket, "name of a socket");
  const Result<LaunchedHost> told = decode_launched_host(read_file(folder_ / "description"));
  ASSERT_TRUE(told.has_value()) << told.error().to_string();
  EXPECT_EQ(told->processes.front().pid, getpid());
  EXPECT_NE(read_file(folder_ / "parent"), std::to_string(getpid()) + "\n");
}

TEST_F(StartedAgent, ThatSaysNothingIsAnError) {
  use_script("exit 64\n");
  const Result<AgentReport> report = start_agent(some_host());
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(report.error().message(), HasSubstr("has ended before it was ready"));
}

TEST_F(StartedAgent, ThatCannotBeRunIsAnError) {
  use_script("");
  write_file(folder_ / "agent", "#!/nowhere/at/all\n");
  const Result<AgentReport> report = start_agent(some_host());
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), ErrorCode::kNotFound);
  environment_.set("PINION_AGENT", folder_ / "nothing");
  const Result<AgentReport> absent = start_agent(some_host());
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(absent.error().message(), HasSubstr("PINION_AGENT"));
}

TEST_F(StartedAgent, IsNotFoundUnderANameThatNobodyHas) {
  const Result<UniqueFd> socket = connect_to_agent("pinion-nobody");
  ASSERT_FALSE(socket.has_value());
  EXPECT_THAT(socket.error().message(), HasSubstr("cannot reach the agent of this host"));
}

}  // namespace
}  // namespace pinion
