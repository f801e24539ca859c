// What the options of a launch mean for jobs over several hosts: standard input for all, a dry run,
// a rank in a debugger.

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/job_on_hosts.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class InputOnHosts : public JobOnHosts {
 protected:
  [[nodiscard]] std::vector<std::string> script(const std::vector<int>& ranks,
                                                const std::string& text) {
    return on_hosts(ranks, {"sh", "-c", text, path("")}, {"--stdin", "all"});
  }
  [[nodiscard]] static std::string much_text() {
    std::string text;
    for (int i = 0; i < 300'000; ++i) {
      text += std::to_string(i) + "\n";
    }
    return text;
  }
};

TEST_F(InputOnHosts, GoesWholeToEveryRank) {
  const std::string text = much_text();
  const CommandResult result = run(script({1, 2, 1}, "cat > $0/got.$PINION_RANK"), text);
  EXPECT_EQ(result.status, 0) << result.errors;
  for (const char* const name : {"got.0", "got.1", "got.2", "got.3"}) {
    EXPECT_TRUE(read_file(path(name)) == text) << name;
  }
}

TEST_F(InputOnHosts, IsEmptyForAllWhenItIsEmpty) {
  const CommandResult result = run(script({1, 1}, "wc -c"), "");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(lines_of(result.output), ElementsAre("0", "0"));
}

TEST_F(InputOnHosts, WaitsForASlowRankOfAnotherHostAndLosesNothing) {
  const std::string text = much_text();
  RunningCommand running(
      folder_,
      script({1, 1},
             "if [ $PINION_RANK = 1 ]; then until [ -e $0/gate ]; do sleep 0.01; done; fi; "
             "cat > $0/got.$PINION_RANK"),
      environment(), text);
  ASSERT_TRUE(eventually([&] { return !read_file(path("got.0")).empty(); })) << running.errors();
  // What rank 1 has not read is in its pipe or waits in the agents.
  EXPECT_LE(read_file(path("got.0")).size(), 256u << 10);
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  for (const char* const name : {"got.0", "got.1"}) {
    EXPECT_TRUE(read_file(path(name)) == text) << name;
  }
}

TEST_F(InputOnHosts, GoesOnToTheOthersWhenRanksReadNoMore) {
  const std::string text = much_text();
  const CommandResult result =
      run(script({1, 1, 1},
                 "if [ $PINION_RANK = 1 ]; then exit 0; elif [ $PINION_RANK = 0 ]; then head -n 1 "
                 "> $0/got.0; else cat > $0/got.2; fi"),
          text);
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_TRUE(read_file(path("got.2")) == text);
  EXPECT_EQ(read_file(path("got.0")), "0\n");
}

TEST_F(InputOnHosts, GoesOnToTheOthersWhenAHostIsLost) {
  const std::string text = much_text();
  std::vector<std::string> command =
      on_hosts({1, 1},
               {"sh", "-c",
                "echo $PPID > $0/agent.$PINION_RANK; if [ $PINION_RANK = 1 ]; then exec sleep 600; "
                "fi; cat > $0/got.0",
                path("")},
               {"--stdin", "all", "--on-failure", "continue"});
  RunningCommand running(folder_, command, environment(), text);
  ASSERT_TRUE(eventually([&] { return !read_file(path("agent.1")).empty(); })) << running.errors();
  kill(std::stoi(read_file(path("agent.1"))), SIGKILL);
  EXPECT_TRUE(eventually([&] { return read_file(path("got.0")) == text; })) << running.errors();
  EXPECT_TRUE(running.wait_for(60s).has_value());
}

TEST_F(JobOnHosts, SaysWhereRanksWouldRunAndStartsNone) {
  const CommandResult result = run(
      on_hosts({1, 2, 1}, {"touch", path("started")}, {"--dry-run", "--journal", path("journal")}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(lines_of(result.output),
              ElementsAre(StartsWith("localhost, rank 0: 1 worker on NUMA node "),
                          StartsWith("b, rank 1: 1 worker on NUMA node "),
                          StartsWith("b, rank 2: 1 worker on NUMA node "),
                          StartsWith("c, rank 3: 1 worker on NUMA node ")));
  EXPECT_THAT(result.errors, IsEmpty());
  EXPECT_FALSE(fs::exists(path("started")));
  EXPECT_FALSE(fs::exists(path("journal")));
}

class DebuggedRankOnHosts : public JobOnHosts {};

TEST_F(DebuggedRankOnHosts, IsWaitedForByRanksOfAllHosts) {
  write_file(path("text"), "two words\n");
  // Stands for a debugger: waits for the gate before the program begins.
  write_file(path("debugger"), "#!/bin/sh\necho > " + path("debugging") + "\nuntil [ -e " +
                                   path("go") + " ]; do sleep 0.01; done\nexec \"$@\"\n");
  make_executable(path("debugger"));
  std::vector<std::string> options = grant_log_option();
  options.insert(options.end(), {"--debug-rank", "1", "--set", "debugger=" + path("debugger")});
  RunningCommand running(folder_,
                         on_hosts({2, 1}, {WORD_PROGRAM, "64", path("out"), path("text")}, options),
                         environment());
  ASSERT_TRUE(eventually([&] { return fs::exists(path("debugging")); })) << running.errors();
  EXPECT_FALSE(rank_runs(0));
  EXPECT_TRUE(rank_runs(1));
  EXPECT_FALSE(rank_runs(2));
  write_file(path("go"), "");
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(read_file(path("out")), "two 1\nwords 1\n");
  for (const nlohmann::json& line : grant_log()) {
    if (line.at("event") == "joined") {
      EXPECT_EQ(line.at("rank"), 1) << "the first that joined";
      break;
    }
  }
}

TEST_F(DebuggedRankOnHosts, ThatNeverJoinsLeavesTheOthersUnstarted) {
  for (const int status : {0, 3}) {
    const CommandResult result = run(on_hosts(
        {1, 1},
        {"sh", "-c", "touch $0/started.$PINION_RANK; exit " + std::to_string(status), path("")},
        {"--debug-rank", "0", "--set", "debugger=env"}));
    EXPECT_EQ(result.status, status);
    EXPECT_THAT(result.errors, HasSubstr("the others were not started"));
    EXPECT_TRUE(fs::exists(path("started.0")));
    EXPECT_FALSE(fs::exists(path("started.1")));
  }
}

}  // namespace
}  // namespace pinion
