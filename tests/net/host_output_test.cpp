// What becomes of the lines that ranks of several hosts print.

#include <signal.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/job_on_hosts.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

class OutputOfHosts : public JobOnHosts {
 protected:
  // The command with more around it, in the words of a shell, for which it is "$@".
  [[nodiscard]] static std::vector<std::string> in_shell(const std::string& words,
                                                         std::vector<std::string> command) {
    command.insert(command.begin(), {"sh", "-c", words, "sh"});
    return command;
  }

  // Lines "RANK NUMBER xxx...", of 100 bytes, and every tenth on standard error as well.
  [[nodiscard]] static std::vector<std::string> program_of(std::size_t line_count) {
    return {"awk", "-v", "n=" + std::to_string(line_count),
            "BEGIN { r = ENVIRON[\"PINION_RANK\"]; for (i = 0; i < 80; ++i) x = x \"x\"; "
            "for (i = 0; i < n; ++i) { s = sprintf(\"%d %08d %s\", r, i, x); print s; "
            "if (i % 10 == 0) print s > \"/dev/stderr\" } }"};
  }

  // Whether each rank's lines are all there, whole and in their order.
  static void expect_lines(const std::string& text, std::size_t rank_count, std::size_t line_count,
                           std::size_t step) {
    std::map<std::string, std::size_t> next;
    const std::string filler(80, 'x');
    for (const std::string& line : lines_of(text)) {
      std::size_t& number = next[line.substr(0, 1)];
      char expected[32];
      std::snprintf(expected, sizeof(expected), "%c %08zu ", line[0], number);
      ASSERT_EQ(line, expected + filler);
      number += step;
    }
    ASSERT_EQ(next.size(), rank_count);
    for (const auto& [rank, number] : next) {
      EXPECT_EQ(number, line_count) << "rank " << rank;
    }
  }
};

TEST_F(OutputOfHosts, IsCompleteAndInOrder) {
  constexpr std::size_t kLineCount = 110'000;  // 10 MB of each rank.
  for (const char* const width : {"16", "1"}) {
    const CommandResult result = run(on_hosts({1, 1, 1, 1}, program_of(kLineCount),
                                              {"--set", std::string("start-width=") + width}));
    EXPECT_EQ(result.status, 0);
    expect_lines(result.output, 4, kLineCount, 1);
    expect_lines(result.errors, 4, kLineCount, 10);
  }
}

// Both outputs are one pipe, whose reader is slower than the ranks.
TEST_F(OutputOfHosts, HasNoLineOfTwoOutputs) {
  const std::vector<std::string> command =
      in_shell("\"$@\" 2>&1 | dd bs=4k status=none", on_hosts({1, 2, 1}, program_of(20'000)));
  const CommandResult result = run(command);
  std::map<std::string, std::size_t> counts;
  for (const std::string& line : lines_of(result.output)) {
    ASSERT_EQ(line.size(), 91u) << line;
    ++counts[line.substr(0, 1)];
  }
  EXPECT_THAT(counts, UnorderedElementsAre(std::pair("0", 22'000), std::pair("1", 22'000),
                                           std::pair("2", 22'000), std::pair("3", 22'000)));
}

// Longer than agents have to leave when nobody needs them any more.
TEST_F(OutputOfHosts, IsKeptForAReaderThatTakesItsTime) {
  constexpr std::size_t kLineCount = 10'000;
  std::vector<std::string> program = {
      "sh", "-c", "[ $PINION_RANK = 0 ] || \"$@\"; touch " + path("done.$PINION_RANK"), "sh"};
  const std::vector<std::string> printing = program_of(kLineCount);
  program.insert(program.end(), printing.begin(), printing.end());
  RunningCommand running(
      folder_,
      in_shell("\"$@\" | { until [ -e " + path("gate") + " ]; do sleep 0.1; done; cat; }",
               on_hosts({1, 1, 1, 1}, program)),
      environment());
  for (const char* const file : {"done.0", "done.1", "done.2", "done.3"}) {
    ASSERT_TRUE(eventually([&] { return fs::exists(path(file)); })) << running.errors();
  }
  EXPECT_FALSE(running.wait_for(12s).has_value());
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 0);
  expect_lines(running.output(), 3, kLineCount, 1);
}

TEST_F(OutputOfHosts, EndsTheLineInWhichAHostWasKilled) {
  RunningCommand running(
      folder_,
      on_hosts({1, 1}, {"sh", "-c",
                        "if [ $PINION_RANK = 1 ]; then echo begun; printf half; kill -9 $PPID; "
                        "fi; until [ -e " +
                            path("gate") + " ]; do sleep 0.1; done; echo whole"}),
      environment());
  ASSERT_TRUE(eventually([&] {
    return running.errors().find("host 1 is lost: b: ") != std::string::npos;
  })) << running.errors();
  write_file(path("gate"), "open");
  EXPECT_TRUE(running.wait_for(60s).has_value()) << running.errors();
  // What the agent had not yet sent is gone with it.
  for (const std::string& line : lines_of(running.output())) {
    EXPECT_TRUE(line == "begun" || line == "half" || line == "whole") << line;
  }
  EXPECT_EQ(count_of("whole\n", running.output()), 1u);
}

TEST_F(OutputOfHosts, ThatNobodyReadsEndsTheRanks) {
  const CommandResult result = run(in_shell("\"$@\" | head -n 3", on_hosts({1, 1, 1}, {"yes"})));
  EXPECT_EQ(result.output, "y\ny\ny\n");
  EXPECT_FALSE(something_runs());
}

TEST_F(OutputOfHosts, ThatCannotBeWrittenIsAnError) {
  const CommandResult result = run(
      in_shell("exec \"$@\" > /dev/full",
               on_hosts({1, 1}, {"sh", "-c", "[ $PINION_RANK = 0 ] || echo words; sleep 600"})));
  EXPECT_EQ(result.status, 71);
  EXPECT_THAT(result.errors, HasSubstr("writing to standard output"));
}

}  // namespace
}  // namespace pinion
