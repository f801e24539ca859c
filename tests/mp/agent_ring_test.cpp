// The ring between a rank and its agent in real jobs: a rank that misuses it, one that dies in it,
// an agent that dies, and one that has no ring to give.

#include <signal.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class AgentRing : public JobTest {
 protected:
  [[nodiscard]] static std::vector<std::string> on_one_rank(
      const std::vector<std::string>& arguments, const std::vector<std::string>& options = {}) {
    std::vector<std::string> program = {AGENT_RING_PROGRAM};
    program.insert(program.end(), arguments.begin(), arguments.end());
    return on_ranks(1, program, options);
  }
};

struct Misuse {
  std::string way;
  std::string words;
};

std::ostream& operator<<(std::ostream& stream, const Misuse& misuse) {
  return stream << misuse.way;
}

class MisusedAgentRing : public AgentRing, public testing::WithParamInterface<Misuse> {};

TEST_P(MisusedAgentRing, CutsTheRankOffInWords) {
  const CommandResult result =
      run(on_one_rank({"misuse", GetParam().way}, {"--on-failure", "abort"}));
  EXPECT_EQ(result.status, 128 + SIGKILL) << result.errors;
  EXPECT_THAT(result.errors, AllOf(HasSubstr("rank 0 is cut off: "), HasSubstr(GetParam().words)));
}

INSTANTIATE_TEST_SUITE_P(
    Ways, MisusedAgentRing,
    testing::Values(
        Misuse{"kind-0", "INVALID_ARGUMENT: it sent a message of unknown kind 0 through its ring"},
        Misuse{"kind-4711", "a message of unknown kind 4711 through its ring"},
        Misuse{"kind-of-a-frame", "a message of unknown kind 3 through its ring"},
        Misuse{"kind-of-an-answer", "a message of unknown kind 22 through its ring"},
        Misuse{"kind-beyond-16-bits", "a message of unknown kind 65554 through its ring"},
        Misuse{"half-a-handle", "INVALID_ARGUMENT: a message that lets go of a blob has 20 bytes"},
        Misuse{"no-handle", "a message that lets go of a blob has 0 bytes; it must have 40"},
        Misuse{"long-segment", "a message that gives back a slab has 8 bytes; it must have 4"},
        Misuse{"question-with-words", "a question for held memory has 1 bytes; it must have none"},
        Misuse{"takes-no-answer", "RESOURCE_EXHAUSTED: its ring has no room for an answer"},
        Misuse{"damaged-turn", "DATA_LOSS: the other process has damaged ring"},
        Misuse{"damaged-length", "DATA_LOSS: the other process has damaged ring"}),
    [](const auto& misuse) {
      std::string name = misuse.param.way;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

TEST_F(AgentRing, MayNameWhatIsNotThere) {
  for (const char* const seed : {"1", "2", "3"}) {
    const CommandResult result = run(on_one_rank({"noise", seed}));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, "well\n") << "seed " << seed;
  }
}

TEST_F(AgentRing, IsEmptiedBeforeAFrameThatWasSentLater) {
  const CommandResult result = run(on_one_rank({"order"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "500 rounds in order\n");
}

TEST_F(AgentRing, LeavesNothingOfARankThatIsKilledAtAnyStoreOfAPush) {
  const CommandResult result = run(on_one_rank({"die"}, {"--on-failure", "respawn:1000"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "36 lives, nothing left\n") << result.errors;
}

TEST_F(AgentRing, DoesNotHoldARankWhoseAgentIsKilledWhileItIsAsked) {
  RunningCommand running(folder_, on_ranks(2, {AGENT_RING_PROGRAM, "ask"}, grant_log_option()),
                         environment());
  pid_t rank = 0;
  ASSERT_TRUE(eventually([&] { return (rank = pid_of(grant_log(), 0, 1)) != 0; }));
  kill(parent_of(rank), SIGKILL);
  EXPECT_EQ(running.wait_for(std::chrono::seconds(120)), 128 + SIGKILL) << running.errors();
  EXPECT_TRUE(eventually([this] { return !something_runs(); }));
}

// Some of these limits leave enough for everything but a ring.
TEST_F(AgentRing, IsRefusedInWordsWhereTheAgentHasNoDescriptorsForIt) {
  int refusal_count = 0;
  int success_count = 0;
  for (int limit = 12; limit <= 48; ++limit) {
    std::vector<std::string> command = {
        "sh", "-c", "ulimit -n " + std::to_string(limit) + " && exec \"$@\"", "sh"};
    for (const std::string& word : on_one_rank({"join"})) {
      command.push_back(word);
    }
    const CommandResult result = run(command);
    if (result.status == 0) {
      ++success_count;
    } else {
      EXPECT_THAT(result.errors, HasSubstr("Too many open files")) << limit << " descriptors";
    }
    refusal_count += static_cast<int>(
        count_of("making the ring between this rank and its agent: ", result.errors));
  }
  EXPECT_GT(refusal_count, 0);
  EXPECT_GT(success_count, 0);
}

}  // namespace
}  // namespace pinion
