// What is killed of a job over hosts that are network namespaces: a rank, an agent, all that a host
// runs, at a moment when it holds nothing, or work that was accepted; and with the power of a host
// its words are gone, too.

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/job_in_namespaces.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kAnswer = "the sum is 2016\n";

class KilledInNamespaces : public JobInNamespaces {
 protected:
  KilledInNamespaces() : JobInNamespaces(2) {}

  void SetUp() override {
    JobInNamespaces::SetUp();
    if (!IsSkipped()) {
      detach_agents();
    }
  }

  [[nodiscard]] RunningCommand start_gated(std::vector<std::string> options = {}) {
    const std::vector<std::string> log = grant_log_option();
    options.insert(options.end(), log.begin(), log.end());
    return RunningCommand(folder_, in_namespaces({1, 1}, {GATED_PROGRAM, path("")}, options),
                          environment());
  }

  void expect_the_answer_and_an_end(RunningCommand& running) {
    expect_the_answer_once(running);
    EXPECT_TRUE(eventually([&] { return !something_runs(); }));
  }

  // No words of its end leave a host without power.
  void take_power_from(int host) const {
    set_link(host, "down");
    kill_host(host);
  }
};

TEST_F(KilledInNamespaces, ARankIsStartedAgain) {
  RunningCommand running = start_gated();
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(pid_of(grant_log(), 1, 1), SIGKILL);
  ASSERT_TRUE(eventually([&] { return pid_of(grant_log(), 1, 2) != 0; })) << running.errors();
  expect_the_answer_and_an_end(running);
  EXPECT_THAT(running.errors(), Not(HasSubstr("is lost")));
}

TEST_F(KilledInNamespaces, AnAgentCostsItsHost) {
  RunningCommand running = start_gated();
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(agent_of_rank(1), SIGKILL);
  ASSERT_TRUE(is_lost(running, 1)) << running.errors();
  expect_the_answer_and_an_end(running);
}

TEST_F(KilledInNamespaces, AWholeHostCostsWhatItHeld) {
  RunningCommand running = start_gated();
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill_host(1);
  ASSERT_TRUE(is_lost(running, 1)) << running.errors();
  expect_the_answer_and_an_end(running);
}

TEST_F(KilledInNamespaces, TheHeadEndsTheJobInWordsAndLeavesNothing) {
  RunningCommand running = start_gated();
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(agent_of_rank(0), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("the agent of this job was killed by signal 9"));
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(KilledInNamespaces, TheWholeFirstHostLeavesNothingOnOthersAndIsResumed) {
  RunningCommand running = start_gated({"--journal", path("journal")});
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  take_power_from(0);
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
  set_link(0, "up");
  write_file(path("gate"), "open");
  const CommandResult resumed =
      run({"ip", "netns", "exec", name(0), PINION_COMMAND, "run", "--resume", path("journal")});
  EXPECT_EQ(resumed.status, 0) << resumed.errors;
  EXPECT_EQ(resumed.output, kAnswer);
}

// After map, before merge.
TEST_F(KilledInNamespaces, AHostThatHoldsWhatWasAcceptedHasItMadeAgain) {
  RunningCommand running(folder_,
                         in_namespaces({1, 1}, {MERGING_PROGRAM, path("")}, grant_log_option()),
                         environment());
  ASSERT_TRUE(eventually([&] {
    return fs::exists(path("merge.0")) || fs::exists(path("merge.1"));
  })) << running.errors();
  const std::vector<nlohmann::json> log = grant_log();
  EXPECT_EQ(accepted_shards(log, 1), each_once(64));
  std::size_t held = 0;
  for (const nlohmann::json& line : log) {
    if (line.at("event") == "accepted") {
      EXPECT_EQ(line.at("stage"), "map") << line.dump();
      held += line.at("rank") == 1 ? line.at("units").size() : 0;
    }
  }
  ASSERT_GT(held, 0u);

  take_power_from(1);
  ASSERT_TRUE(is_lost(running, 1)) << running.errors();
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), "500 keys, sum 1008000\n");
  EXPECT_EQ(accepted_shards(grant_log(), 1).size(), 64 + held) << "all of it, and nothing else";
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

}  // namespace
}  // namespace pinion
