// Standard input, variables and folder of ranks, and the rank that runs in a debugger.

#include <unistd.h>

#include <chrono>
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
using testing::UnorderedElementsAre;

class RankInput : public JobTest {
 protected:
  [[nodiscard]] std::vector<std::string> shell(std::size_t rank_count, const std::string& script,
                                               const std::vector<std::string>& options) const {
    return on_ranks(rank_count, {"sh", "-c", script, path("")}, options);
  }
  [[nodiscard]] static std::string much_text() {
    std::string text;
    for (int i = 0; i < 300'000; ++i) {
      text += std::to_string(i) + "\n";
    }
    return text;
  }
};

TEST_F(RankInput, GoesWholeToEveryRank) {
  const std::string text = much_text();
  const CommandResult result = run(shell(3, "cat > $0/got.$PINION_RANK", {"--stdin", "all"}), text);
  EXPECT_EQ(result.status, 0) << result.errors;
  for (const char* const name : {"got.0", "got.1", "got.2"}) {
    EXPECT_TRUE(read_file(path(name)) == text) << name;
  }
}

TEST_F(RankInput, WaitsForARankThatIsSlowAndLosesNothing) {
  const std::string text = much_text();
  RunningCommand running(
      folder_,
      shell(2,
            "if [ $PINION_RANK = 1 ]; then until [ -e $0/gate ]; do sleep 0.01; done; fi; "
            "cat > $0/got.$PINION_RANK",
            {"--stdin", "all"}),
      environment(), text);
  ASSERT_TRUE(eventually([&] { return !read_file(path("got.0")).empty(); })) << running.errors();
  // What rank 1 has not read is in its pipe or waits in the agent.
  EXPECT_LE(read_file(path("got.0")).size(), 256u << 10);
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  for (const char* const name : {"got.0", "got.1"}) {
    EXPECT_TRUE(read_file(path(name)) == text) << name;
  }
}

TEST_F(RankInput, GoesOnToTheOthersWhenARankReadsNoMore) {
  const std::string text = much_text();
  const CommandResult result =
      run(shell(3,
                "if [ $PINION_RANK = 1 ]; then exit 0; elif [ $PINION_RANK = 2 ]; then head -n 1 "
                "> $0/got.2; else cat > $0/got.0; fi",
                {"--stdin", "all"}),
          text);
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_TRUE(read_file(path("got.0")) == text);
  EXPECT_EQ(read_file(path("got.2")), "0\n");
}

TEST_F(RankInput, IsEmptyForEveryRankWhenAskedFor) {
  const CommandResult result =
      run(shell(2, "echo $PINION_RANK has $(wc -c)", {"--stdin", "none"}), "words");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(lines_of(result.output), UnorderedElementsAre("0 has 0", "1 has 0"));
}

TEST_F(RankInput, ThatNobodyReadsIsAnErrorForAJobThatAsksForIt) {
  const CommandResult result =
      run(on_ranks(2, {WORD_PROGRAM, "64", path("out"), "-"}, {"--stdin", "none"}), "words");
  EXPECT_EQ(result.status, 69);
  EXPECT_THAT(result.errors, HasSubstr("standard input (-) is asked for"));
}

TEST_F(RankInput, OfAJobIsWhatRank0ReadsThoughAllHaveIt) {
  const CommandResult result =
      run(on_ranks(2, {WORD_PROGRAM, "64", path("out"), "-"}, {"--stdin", "all"}), "two words");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(read_file(path("out")), "two 1\nwords 1\n");
}

TEST_F(RankInput, IsNotCopiedFromATerminal) {
  TerminalCommand command(on_ranks(2, {"cat"}, {"--stdin", "all"}), environment());
  EXPECT_EQ(command.wait_for_end(), 78);
  EXPECT_THAT(command.output(), HasSubstr("which is a terminal; give a file or a pipe"));
}

class RankProcesses : public RankInput {};

TEST_F(RankProcesses, HaveTheVariablesThatAreExported) {
  std::vector<std::string> command =
      shell(2, "echo \"$PINION_RANK $ONE $TWO $THREE\"",
            {"-x", "ONE=a b", "-x", "PINION_TEST_TWO=2", "-xTHREE=", "-x", "TWO"});
  command.insert(command.begin(), {"env", "TWO=second", "THREE=not empty"});
  const CommandResult result = run(command);
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(lines_of(result.output), UnorderedElementsAre("0 a b second ", "1 a b second "));
}

TEST_F(RankProcesses, HaveTheVariablesThatScriptsRead) {
  std::vector<std::string> command =
      shell(2,
            "echo $OMPI_COMM_WORLD_RANK $OMPI_COMM_WORLD_SIZE $OMPI_COMM_WORLD_LOCAL_RANK "
            "$OMPI_COMM_WORLD_LOCAL_SIZE $PMI_RANK $PMI_SIZE $PINION_LOCAL_SIZE ${PMI_FD-none}",
            {});
  // As inside another launcher's rank.
  command.insert(command.begin(), {"env", "PMI_FD=7", "PMI_RANK=5", "OMPI_COMM_WORLD_RANK=5"});
  const CommandResult result = run(command);
  EXPECT_THAT(lines_of(result.output),
              UnorderedElementsAre("0 2 0 2 0 2 2 none", "1 2 1 2 1 2 2 none"));
}

TEST_F(RankProcesses, StartInTheFolderThatIsAskedFor) {
  fs::create_directory(path("inner"));
  write_file(path("inner/script"), "#!/bin/sh\npwd\n");
  fs::permissions(path("inner/script"), fs::perms::owner_all);
  const CommandResult result = run(on_ranks(2, {"./script"}, {"--wdir", path("inner")}));
  EXPECT_EQ(result.status, 0) << result.errors;
  const std::string inner = fs::canonical(path("inner")).string();
  EXPECT_THAT(lines_of(result.output), UnorderedElementsAre(inner, inner));
}

// Files that options name are meant from where the command was given.
TEST_F(RankProcesses, WriteTheTraceWhereTheCommandWasGiven) {
  fs::create_directory(path("inner"));
  std::vector<std::string> command = on_ranks(2, {WORD_PROGRAM, "64", path("out"), path("text")},
                                              {"--wdir", path("inner"), "--trace", "traces"});
  write_file(path("text"), "two words\n");
  command.insert(command.begin(), {"env", "-C", path("")});
  const CommandResult result = run(command);
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_TRUE(fs::exists(path("traces/trace.rank1.json")));
}

TEST_F(RankProcesses, AreNotStartedInAFolderThatIsNotThere) {
  const CommandResult result = run(on_ranks(2, {"touch", path("x")}, {"--wdir", path("nothing")}));
  EXPECT_EQ(result.status, 66);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("nothing"), HasSubstr("--wdir")));
  EXPECT_FALSE(fs::exists(path("x")));
}

class DebuggedRank : public RankInput {
 protected:
  // Stands for a debugger: waits for the gate before the program begins.
  [[nodiscard]] std::vector<std::string> gated_debugger() const {
    write_file(path("debugger"), "#!/bin/sh\necho > " + path("debugging") + "\nuntil [ -e " +
                                     path("go") + " ]; do sleep 0.01; done\nexec \"$@\"\n");
    fs::permissions(path("debugger"), fs::perms::owner_all);
    std::vector<std::string> options = grant_log_option();
    options.insert(options.end(), {"--debug-rank", "1", "--set", "debugger=" + path("debugger")});
    return options;
  }
};

TEST_F(DebuggedRank, IsWaitedForByTheOthers) {
  write_file(path("text"), "two words\n");
  RunningCommand running(
      folder_, on_ranks(3, {WORD_PROGRAM, "64", path("out"), path("text")}, gated_debugger()),
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

TEST_F(DebuggedRank, HasTheInterruptsOfTheTerminalToItself) {
  write_file(path("text"), "two words\n");
  std::vector<std::string> options = gated_debugger();
  write_file(path("debugger"),
             "#!/bin/sh\ntrap 'echo interrupted' INT\necho debugging\nuntil [ -e " + path("go") +
                 " ]; do sleep 0.01; done\nexec \"$@\"\n");
  TerminalCommand command(on_ranks(2, {WORD_PROGRAM, "64", path("out"), path("text")}, options),
                          environment());
  ASSERT_TRUE(command.writes("debugging", 1)) << command.output();
  command.type("\x03");
  ASSERT_TRUE(command.writes("interrupted", 1)) << command.output();
  write_file(path("go"), "");
  EXPECT_EQ(command.wait_for_end(), 0) << command.output();
  EXPECT_EQ(read_file(path("out")), "two 1\nwords 1\n");
}

TEST_F(DebuggedRank, ThatNeverJoinsLeavesTheOthersUnstarted) {
  const CommandResult result =
      run(on_ranks(2, {"sh", "-c", "touch $0/started.$PINION_RANK; exit 3", path("")},
                   {"--debug-rank", "1", "--set", "debugger=env"}));
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.errors, HasSubstr("the others were not started"));
  EXPECT_TRUE(fs::exists(path("started.1")));
  EXPECT_FALSE(fs::exists(path("started.0")));
}

TEST_F(DebuggedRank, RunsInARealDebugger) {
  if (run({"gdb", "--version"}).status != 0) {
    GTEST_SKIP() << "gdb is not installed";
  }
  write_file(path("text"), "two words\n");
  const CommandResult result =
      run(on_ranks(2, {WORD_PROGRAM, "64", path("out"), path("text")},
                   {"--debug-rank", "0", "--set", "debugger=gdb -nx -batch -ex run --args"}));
  EXPECT_EQ(read_file(path("out")), "two 1\nwords 1\n") << result.output << result.errors;
}

}  // namespace
}  // namespace pinion
