// A rank that has a GPU is killed, from outside, in each state of a shard: while the shard waits
// for the device, is copied in, computed, copied out, has come back and is not reported, is
// reported to an agent that has not decided yet, and when a batch was accepted. The rank holds
// itself where it is to die, so the moment is that of the state.

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::size_t kShardCount = 96;

struct State {
  const char* name;
  const char* fault;  // Of the device of rank 0, as an emulation says it.
  const char* stop;   // Where device_program stays.
  bool is_accepted;   // A batch is accepted before the end; the rank goes on until it is.
  bool is_reported;   // A batch is reported, and the agent stays until the rank is dead.
};

void PrintTo(const State& state, std::ostream* stream) {
  *stream << state.name;
}

bool is_of_first_life(const json& line, const char* event) {
  return line.at("event") == event && line.at("rank") == 0 && line.at("incarnation") == 1 &&
         line.value("step", 0u) == 1 && line.value("stage", "") == "map";
}

// The shards of the lines of one kind of the first life of rank 0.
std::set<std::uint64_t> shards_of_first_life(const std::vector<json>& log, const char* event) {
  std::set<std::uint64_t> shards;
  for (const json& line : log) {
    if (is_of_first_life(line, event)) {
      for (const json& unit : line.at("units")) {
        shards.insert(unit.get<std::uint64_t>());
      }
    }
  }
  return shards;
}

class DeviceKill : public JobTest, public testing::WithParamInterface<State> {
 protected:
  DeviceKill() {
    std::ofstream file(path("letters"), std::ios::binary);
    for (std::size_t i = 0; i < kShardCount * 1024; ++i) {
      file.put("abcde"[i * 7 % 5]);
    }
  }

  [[nodiscard]] std::vector<std::string> command() const {
    std::string devices = "devices=emu:2,mem=1m";
    if (*GetParam().fault != '\0') {
      devices += std::string(",fault=0:") + GetParam().fault;
    }
    std::vector<std::string> options = grant_log_option();
    options.insert(options.end(),
                   {"--set", devices, "--set", "batch-shards=4", "--set", "late-seconds=3600"});
    return on_ranks(2, {DEVICE_PROGRAM, path(""), "0", GetParam().stop}, options);
  }

  // The process of the first life of rank 0 when it is where it is to die.
  [[nodiscard]] pid_t wait_for_state() const {
    pid_t pid = 0;
    EXPECT_TRUE(eventually([&] {
      const std::vector<json> log = grant_log();
      pid = pid_of(log, 0, 1);
      return pid != 0 && (GetParam().is_accepted ? !shards_of_first_life(log, "accepted").empty()
                                                 : is_stopped(pid));
    }));
    return pid;
  }

  // The device of a later life stops that one too, which may go on.
  void let_later_lives_go_on() const {
    const std::vector<json> log = grant_log();
    for (std::uint64_t life = 2; const pid_t pid = pid_of(log, 0, life); ++life) {
      if (is_stopped(pid)) {
        kill(pid, SIGCONT);
      }
    }
  }
};

TEST_P(DeviceKill, LosesAndDoublesNothing) {
  RunningCommand running(folder_, command(), environment());
  const pid_t pid = wait_for_state();
  ASSERT_GT(pid, 0) << running.errors();
  const std::vector<json> before = grant_log();
  const std::set<std::uint64_t> accepted = shards_of_first_life(before, "accepted");
  EXPECT_EQ(accepted.empty(), !GetParam().is_accepted);
  EXPECT_GT(shards_of_first_life(before, "grant").size(), accepted.size()) << "it holds shards";
  const pid_t agent = parent_of(pid);
  EXPECT_EQ(is_stopped(agent), GetParam().is_reported);
  kill(pid, SIGKILL);
  kill(agent, SIGCONT);

  std::optional<int> status;
  EXPECT_TRUE(eventually([&] {
    let_later_lives_go_on();
    status = running.wait_for(std::chrono::milliseconds(10));
    return status.has_value();
  }));
  EXPECT_EQ(status, 0) << running.errors();
  EXPECT_EQ(running.output(), "19661 letters\n") << running.errors();
  EXPECT_THAT(running.errors(),
              AllOf(HasSubstr("rank 0 was killed by signal 9"), HasSubstr("starting it again")));
  const std::vector<json> log = grant_log();
  EXPECT_EQ(accepted_shards(log, 1), each_once(kShardCount));
  EXPECT_THAT(fence_violations(log), IsEmpty());
  // What was accepted stays that of the dead. Where they were not stopped as a whole, their workers
  // may have handed more in before the kill.
  const std::set<std::uint64_t> kept = shards_of_first_life(log, "accepted");
  EXPECT_TRUE(std::includes(kept.begin(), kept.end(), accepted.begin(), accepted.end()));
  EXPECT_EQ(kept.empty(), !GetParam().is_accepted && !GetParam().is_reported);
}

INSTANTIATE_TEST_SUITE_P(AShard, DeviceKill,
                         testing::Values(State{"WaitsForTheDevice", "", "queued", false, false},
                                         State{"IsCopiedIn", "stop@in", "device", false, false},
                                         State{"IsComputed", "stop@kernel", "device", false, false},
                                         State{"IsCopiedOut", "stop@out", "device", false, false},
                                         State{"HasComeBack", "", "finish", false, false},
                                         State{"IsReported", "", "report", false, true},
                                         State{"IsAccepted", "", "batch", true, false}),
                         [](const auto& state) { return std::string(state.param.name); });

}  // namespace
}  // namespace pinion
