// Jobs of three ranks that are killed and paused at random moments, 50 to 500 ms apart, and whose
// agents and launchers are killed. PINION_KILL_LOOPS says how many jobs of each kind there are.

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::IsEmpty;

constexpr std::uint64_t kSeed = 6'006;
constexpr int kDisturbancesOfAJob = 5;

int loop_count() {
  const char* const count = std::getenv("PINION_KILL_LOOPS");
  return count == nullptr ? 1 : std::max(1, std::atoi(count));
}

std::string make_text() {
  std::mt19937_64 random(kSeed);
  std::string text;
  for (int line = 0; line < 20'000; ++line) {
    text += std::to_string(random() % 100'000) + " word" + std::to_string(random() % 40) + "\n";
  }
  return text;
}

// The processes of the ranks that have joined and not ended, as far as the log tells.
std::vector<pid_t> living_ranks(const std::vector<json>& log) {
  std::map<std::uint64_t, pid_t> ranks;
  for (const json& line : log) {
    const std::string event = line.at("event");
    if (event == "joined") {
      ranks[line.at("rank")] = line.at("pid").get<pid_t>();
    } else if (event == "lost" || event == "left") {
      ranks.erase(line.at("rank"));
    }
  }
  std::vector<pid_t> pids;
  for (const auto& [rank, pid] : ranks) {
    pids.push_back(pid);
  }
  return pids;
}

class DisturbedJob : public JobTest {
 protected:
  void SetUp() override { write_file(path("text"), make_text()); }

  [[nodiscard]] std::vector<std::string> program(const std::string& kind,
                                                 const std::string& body_ms) const {
    return {DISTURBED_PROGRAM, kind, body_ms, path("gate"), path("text")};
  }

  // A job whose leases run out within a pause.
  [[nodiscard]] std::vector<std::string> command(const std::string& kind) const {
    std::vector<std::string> options = grant_log_option();
    options.insert(options.end(), {"--on-failure", "respawn:1000", "--set", "lease-seconds=0.2",
                                   "--set", "batch-shards=2", "--set", "deaths-max=1000"});
    return on_ranks(3, program(kind, "10"), options);
  }

  void forget_last_job() const {
    std::filesystem::remove(path("gate"));
    std::filesystem::remove(path("grants"));
  }

  std::mt19937_64 random_{kSeed};
};

class DisturbedRanks : public DisturbedJob, public testing::WithParamInterface<const char*> {
 protected:
  // Waits; true while the job runs, as it does until the gate is open.
  bool pause(RunningCommand& running) {
    return !running.wait_for(milliseconds(50 + random_() % 451)).has_value();
  }

  [[nodiscard]] bool lives(pid_t pid) const {
    const std::vector<pid_t> ranks = living_ranks(grant_log());
    return std::find(ranks.begin(), ranks.end(), pid) != ranks.end();
  }

  // How many ranks were killed.
  int disturb(RunningCommand& running) {
    int kill_count = 0;
    for (int i = 0; i < kDisturbancesOfAJob && pause(running); ++i) {
      std::vector<pid_t> ranks;
      EXPECT_TRUE(eventually([&] {
        ranks = living_ranks(grant_log());
        return !ranks.empty() || running.wait_for(milliseconds(0)).has_value();
      }));
      if (ranks.empty()) {
        break;
      }
      const pid_t victim = ranks[random_() % ranks.size()];
      const std::uint64_t way = random_() % 3;  // A kill, a pause, a pause that ends in a kill.
      if (way > 0) {
        kill(victim, SIGSTOP);
        static_cast<void>(pause(running));
      }
      kill(victim, way == 1 ? SIGCONT : SIGKILL);
      if (way != 1) {
        ++kill_count;
        EXPECT_TRUE(eventually([&] { return !lives(victim); }));
      }
    }
    return kill_count;
  }

  void run_disturbed(const std::string& right_answer) {
    forget_last_job();
    const Surroundings surroundings(path("token"));
    RunningCommand running(folder_, command(GetParam()), environment());
    const int kill_count = disturb(running);
    write_file(path("gate"), "open");
    EXPECT_EQ(running.wait_for(std::chrono::seconds(120)), 0) << running.errors();
    EXPECT_EQ(running.output(), right_answer);
    const std::vector<json> log = grant_log();
    EXPECT_THAT(fence_violations(log), IsEmpty());
    EXPECT_EQ(accepted_shards(log, 1), each_once(accepted_shards(log, 1).size()));
    EXPECT_EQ(count_of("\"event\":\"lost\"", read_file(path("grants"))),
              static_cast<std::size_t>(kill_count));
    EXPECT_THAT(surroundings.left_behind(), IsEmpty());
  }
};

TEST_P(DisturbedRanks, LeaveTheAnswerAsItIsAndNothingBehind) {
  write_file(path("gate"), "open");
  const CommandResult undisturbed = run(program(GetParam(), "0"));
  ASSERT_EQ(undisturbed.status, 0) << undisturbed.errors;
  for (int loop = 0; loop < loop_count() && !HasFailure(); ++loop) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", job " + std::to_string(loop));
    run_disturbed(undisturbed.output);
  }
}

INSTANTIATE_TEST_SUITE_P(Work, DisturbedRanks,
                         testing::Values("words", "groups", "sort", "k-means"),
                         [](const auto& kind) {
                           const std::string name = kind.param;
                           return name == "k-means" ? std::string("KMeans") : name;
                         });

using KilledAgent = DisturbedJob;

// The command, or its agent, at any moment.
TEST_F(KilledAgent, LeavesNothingBehind) {
  for (int loop = 0; loop < 4 * loop_count() && !HasFailure(); ++loop) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", job " + std::to_string(loop));
    forget_last_job();
    const Surroundings surroundings(path("token"));
    RunningCommand running(folder_, command("words"), environment());
    const bool is_agent = random_() % 2 == 0;
    pid_t victim = running.pid();
    if (is_agent) {
      ASSERT_TRUE(eventually([&] { return !living_ranks(grant_log()).empty(); }));
      victim = parent_of(living_ranks(grant_log()).front());
    }
    EXPECT_EQ(running.wait_for(milliseconds(random_() % 300)), std::nullopt);
    kill(victim, SIGKILL);
    EXPECT_EQ(running.wait_for(std::chrono::seconds(120)), 137) << running.errors();
    EXPECT_TRUE(eventually([this] { return !something_runs(); }));
    EXPECT_THAT(surroundings.left_behind(), IsEmpty());
  }
}

}  // namespace
}  // namespace pinion
