// Jobs whose agents start each other: over four hosts, each a network namespace, where each agent
// starts one other, or two.

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/word_corpus.hpp"
#include "net/job_in_namespaces.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kAnswer = "the sum is 2016\n";
constexpr int kHostCount = 4;

class StartTree : public JobInNamespaces {
 protected:
  StartTree() : JobInNamespaces(kHostCount) {}

  // A rank on each host.
  [[nodiscard]] std::vector<std::string> tree(const std::vector<std::string>& program,
                                              std::vector<std::string> options = {},
                                              int width = 1) {
    options.insert(options.end(), {"--set", "start-width=" + std::to_string(width)});
    return in_namespaces({1, 1, 1, 1}, program, options);
  }

  [[nodiscard]] std::vector<std::string> gated_tree(int width = 1) {
    return tree({GATED_PROGRAM, path("")}, grant_log_option(), width);
  }
  [[nodiscard]] bool all_bodies_have_begun() const {
    return eventually([&] {
      for (int rank = 0; rank < kHostCount; ++rank) {
        if (!fs::exists(path("body." + std::to_string(rank) + ".1"))) {
          return false;
        }
      }
      return true;
    });
  }
  void open_gate() const { write_file(path("gate"), "open"); }
};

TEST_F(StartTree, CountsWordsAsOneRankDoes) {
  const WordCorpus corpus = WordCorpus::of_seed(3);
  write_file(path("text"), corpus.text);
  for (const int width : {1, 2, 3}) {
    const CommandResult result =
        run(tree({WORD_PROGRAM, "4000", path("out"), path("text")}, {}, width));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(read_file(path("out")), corpus.counts);
    EXPECT_THAT(result.errors, HasSubstr("on 4 hosts"));
    fs::remove(path("out"));
  }
}

TEST_F(StartTree, HasAgentsThatStartEachOther) {
  struct Case {
    int width;
    std::vector<std::uint64_t> starters;  // Of hosts 1 to 3.
  };
  for (const Case& it : {Case{1, {0, 1, 2}}, Case{2, {0, 0, 1}}, Case{3, {0, 0, 0}}}) {
    RunningCommand running(folder_, gated_tree(it.width), environment());
    ASSERT_TRUE(all_bodies_have_begun()) << running.errors();
    for (std::uint64_t host = 1; host < kHostCount; ++host) {
      EXPECT_EQ(parent_of(agent_of_rank(host)), agent_of_rank(it.starters[host - 1]))
          << "host " << host << " where each starts " << it.width;
    }
    open_gate();
    EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
    EXPECT_EQ(running.output(), kAnswer);
    for (const char* const file : {"body.0.1", "body.1.1", "body.2.1", "body.3.1", "gate"}) {
      fs::remove(path(file));
    }
    fs::remove(path("grants"));
  }
}

TEST_F(StartTree, GivesRanksTheEnvironmentAndTheFolderOfTheJob) {
  fs::create_directory(path("folder"));
  const CommandResult result = run_command(
      folder_, tree({"sh", "-c", "echo $PINION_HOST_ID $GIVEN $(pwd)"}, {"--wdir", path("folder")}),
      environment({{"GIVEN", "one"}}));
  EXPECT_EQ(result.status, 0) << result.errors;
  std::vector<std::string> lines = lines_of(result.output);
  std::sort(lines.begin(), lines.end());
  const std::string rest = " one " + fs::canonical(path("folder")).string();
  EXPECT_THAT(lines, ElementsAre("0" + rest, "1" + rest, "2" + rest, "3" + rest));
}

TEST_F(StartTree, HasTheExitStatusOfTheLastRank) {
  const CommandResult result =
      run(tree({"sh", "-c", "if [ $PINION_RANK = 3 ]; then exit 7; fi; sleep 600"}));
  EXPECT_EQ(result.status, 7) << result.errors;
  EXPECT_FALSE(something_runs());
}

TEST_F(StartTree, EndsOnASignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const std::string script = "trap 'touch " + path("got.$PINION_RANK") +
                               "; exit 0' TERM INT; touch " + path("begun.$PINION_RANK") +
                               "; while :; do sleep 0.1; done";
    RunningCommand running(folder_, tree({"sh", "-c", script}), environment());
    for (const char* const file : {"begun.0", "begun.1", "begun.2", "begun.3"}) {
      ASSERT_TRUE(eventually([&] { return fs::exists(path(file)); })) << running.errors();
      fs::remove(path(file));
    }
    kill(running.pid(), signal);
    EXPECT_EQ(running.wait_for(60s), 128 + signal) << running.errors();
    EXPECT_FALSE(something_runs());
    for (const char* const file : {"got.0", "got.1", "got.2", "got.3"}) {
      EXPECT_TRUE(fs::remove(path(file))) << file;
    }
  }
}

// Whose agent has started another one, which has started one more.
class LossInTree : public StartTree {
 protected:
  void lose_host(int host, int width) {
    const std::string lost = "host " + std::to_string(host) + " is lost: ";
    RunningCommand running(folder_, gated_tree(width), environment());
    ASSERT_TRUE(all_bodies_have_begun()) << running.errors();
    kill(agent_of_rank(static_cast<std::uint64_t>(host)), SIGKILL);
    ASSERT_TRUE(eventually([&] { return running.errors().find(lost) != std::string::npos; }))
        << running.errors();
    open_gate();
    EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
    EXPECT_EQ(running.output(), kAnswer);
    EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
    EXPECT_EQ(count_of(" is lost: ", running.errors()), 1u) << running.errors();
    EXPECT_TRUE(eventually([&] { return !something_runs(); }));
  }
};

TEST_F(LossInTree, OfTheFirstOfAChainCostsThatHostAlone) {
  lose_host(1, 1);
}

TEST_F(LossInTree, OfTheMiddleOfAChainCostsThatHostAlone) {
  lose_host(2, 1);
}

TEST_F(LossInTree, OfTheLastOfAChainCostsThatHostAlone) {
  lose_host(3, 1);
}

TEST_F(LossInTree, OfABranchCostsThatHostAlone) {
  lose_host(1, 2);
}

// What the hosts behind it print is all there, whole and in its order.
TEST_F(LossInTree, CostsNoLineOfOtherHosts) {
  constexpr int kLineCount = 40'000;
  const std::string script = "awk -v n=" + std::to_string(kLineCount) +
                             " 'BEGIN { r = ENVIRON[\"PINION_RANK\"]; "
                             "for (i = 0; i < n; ++i) printf \"%d %07d %080d\\n\", r, i, i }'; "
                             "if [ $PINION_RANK = 1 ]; then kill -9 $PPID; fi";
  const CommandResult result = run(tree({"sh", "-c", script}));
  EXPECT_THAT(result.errors, HasSubstr("host 1 is lost: b: "));
  std::vector<int> next(kHostCount);
  for (const std::string& line : lines_of(result.output)) {
    const int rank = line[0] - '0';
    ASSERT_TRUE(rank >= 0 && rank < kHostCount) << line;
    char expected[128];
    const int number = next[static_cast<std::size_t>(rank)]++;
    std::snprintf(expected, sizeof(expected), "%d %07d %080d", rank, number, number);
    if (rank != 1) {  // Of that one a last line may be half.
      ASSERT_EQ(line, expected);
    }
  }
  EXPECT_EQ(next[0], kLineCount);
  EXPECT_LE(next[1], kLineCount);
  EXPECT_EQ(next[2], kLineCount);
  EXPECT_EQ(next[3], kLineCount);
  EXPECT_FALSE(something_runs());
}

TEST_F(LossInTree, OfTheHeadLeavesNothing) {
  RunningCommand running(folder_, gated_tree(), environment());
  ASSERT_TRUE(all_bodies_have_begun()) << running.errors();
  kill(agent_of_rank(0), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("the agent of this job was killed by signal 9"));
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(LossInTree, OfTheHeadAndOfABranchLeavesNothing) {
  RunningCommand running(folder_, gated_tree(), environment());
  ASSERT_TRUE(all_bodies_have_begun()) << running.errors();
  const pid_t head = agent_of_rank(0);
  kill(agent_of_rank(2), SIGKILL);
  kill(head, SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("the agent of this job was killed by signal 9"));
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(LossInTree, OfPinionRunLeavesNothing) {
  RunningCommand running(folder_, gated_tree(), environment());
  ASSERT_TRUE(all_bodies_have_begun()) << running.errors();
  kill(running.pid(), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

class HostThatCannotBeStarted : public StartTree {};

TEST_F(HostThatCannotBeStarted, IsNamedWithTheWayToIt) {
  write_file(shell(),
             shell_script("if [ $1 = d ]; then echo \"shell: no way to $1\" >&2; exit 255; "
                          "fi\n"));
  const CommandResult result = run(tree({"true"}));
  EXPECT_EQ(result.status, 69);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("shell: no way to d\n"),
                    HasSubstr("host 3 is lost: d: reached from c, its remote shell ended with exit "
                              "status 255"),
                    HasSubstr("the job does not begin without d"), Not(HasSubstr("without b")),
                    Not(HasSubstr("without c"))));
  EXPECT_FALSE(something_runs());
}

TEST_F(HostThatCannotBeStarted, GivesTheJobItsStatus) {
  fs::create_directory(path("folder"));
  write_file(shell(), shell_script("if [ $1 = d ]; then mv " + path("folder") + " " +
                                   path("moved") + "; fi\n"));
  const CommandResult result = run(tree({"true"}, {"--wdir", path("folder")}));
  EXPECT_EQ(result.status, 66) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("d: cannot enter"));
  EXPECT_FALSE(something_runs());
}

TEST_F(HostThatCannotBeStarted, IsWaitedForNoLongerWhenTheJobIsEnded) {
  write_file(shell(), shell_script("if [ $1 = d ]; then touch $0.begun; exec sleep 600; fi\n"));
  RunningCommand running(folder_, tree({"true"}), environment());
  ASSERT_TRUE(eventually([&] { return fs::exists(shell() + ".begun"); })) << running.errors();
  kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait_for(60s), 143) << running.errors();
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

// It may be there already, and then hears of the end of the job from the head.
TEST_F(HostThatCannotBeStarted, EndsTheJobWithWhoeverWasToStartIt) {
  write_file(shell(), shell_script("echo $$ > $0.pid.$1\n"
                                   "if [ $1 = d ]; then touch $0.begun; exec sleep 600; fi\n"));
  RunningCommand running(folder_, tree({"true"}), environment());
  ASSERT_TRUE(eventually([&] { return fs::exists(shell() + ".begun"); })) << running.errors();
  kill(std::atoi(read_file(shell() + ".pid.c").c_str()), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 69) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("the job does not begin without c"));
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

}  // namespace
}  // namespace pinion
