// What becomes of the lines that ranks write.

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

class RankOutput : public JobTest {
 protected:
  [[nodiscard]] CommandResult shell(std::size_t rank_count, const std::string& script,
                                    const std::vector<std::string>& options = {}) const {
    return run(on_ranks(rank_count, {"sh", "-c", script, path("")}, options));
  }
};

// Each line is written in three pieces, so that others have the chance to come between.
TEST_F(RankOutput, HasNoLineOfTwoRanks) {
  const std::string script =
      "exec awk -v r=$PINION_RANK 'BEGIN { for (i = 0; i < 3000; ++i) { printf \"%d \", r; "
      "fflush(); printf \"%d \", i; fflush(); for (j = 0; j < i % 40; ++j) printf \"%d\", r; "
      "print \" \" r; fflush(); } }'";
  for (const char* const redirection : {"", " 1>&2"}) {
    const CommandResult result = shell(4, script + redirection);
    EXPECT_EQ(result.status, 0);
    std::map<std::string, std::vector<std::string>> lines;
    const std::string& text = *redirection == '\0' ? result.output : result.errors;
    for (const std::string& line : lines_of(text)) {
      lines[line.substr(0, 1)].push_back(line);
    }
    ASSERT_EQ(lines.size(), 4u);
    for (const auto& [rank, of_rank] : lines) {
      ASSERT_EQ(of_rank.size(), 3000u);
      for (std::size_t i = 0; i < of_rank.size(); ++i) {
        const std::string filler(i % 40, rank[0]);
        ASSERT_EQ(of_rank[i], rank + " " + std::to_string(i) + " " + filler + " " + rank);
      }
    }
  }
}

// Both outputs are one pipe.
TEST_F(RankOutput, HasNoLineOfTwoOutputs) {
  std::vector<std::string> command =
      on_ranks(2, {"sh", "-c",
                   "for i in $(seq 2000); do printf oooo; printf eeee >&2; echo oooo; "
                   "echo eeee >&2; done"});
  command.insert(command.begin(), {"sh", "-c", "\"$@\" 2>&1 | cat", "sh"});
  const CommandResult result = run(command);
  const std::vector<std::string> lines = lines_of(result.output);
  ASSERT_EQ(lines.size(), 8000u);
  for (const std::string& line : lines) {
    ASSERT_TRUE(line == "oooooooo" || line == "eeeeeeee") << line;
  }
}

TEST_F(RankOutput, EndsTheLineInWhichARankWasKilled) {
  const CommandResult result =
      shell(2, "if [ $PINION_RANK = 1 ]; then printf half; kill -9 $$; fi; echo whole",
            {"--on-failure", "continue"});
  EXPECT_EQ(result.status, 137);
  EXPECT_THAT(lines_of(result.output), UnorderedElementsAre("half", "whole"));
}

TEST_F(RankOutput, AddsNothingBehindTheLastLine) {
  EXPECT_EQ(shell(2, "if [ $PINION_RANK = 1 ]; then printf 'a\\nno end'; fi").output, "a\nno end");
  EXPECT_EQ(shell(1, "printf 'a\\nno end'").output, "a\nno end");
}

TEST_F(RankOutput, CutsLinesThatAreTooLong) {
  const std::string script =
      "head -c 3000000 /dev/zero | tr '\\0' $PINION_RANK; echo; echo end $PINION_RANK";
  const CommandResult result = shell(2, script);
  EXPECT_EQ(result.status, 0);
  std::map<char, std::size_t> counts;
  for (const std::string& line : lines_of(result.output)) {
    if (line.starts_with("end") || line.empty()) {
      continue;
    }
    ASSERT_EQ(line.find_first_not_of(line[0]), std::string::npos) << "a line of two ranks";
    counts[line[0]] += line.size();
  }
  EXPECT_EQ(counts, (std::map<char, std::size_t>{{'0', 3'000'000}, {'1', 3'000'000}}));
  EXPECT_EQ(count_of("end ", result.output), 2u);
}

TEST_F(RankOutput, OfOneRankArrivesAsItIs) {
  std::mt19937_64 random(3);
  std::string bytes;
  for (int i = 0; i < 3'000'000; ++i) {
    bytes += static_cast<char>(random());
  }
  write_file(path("bytes"), bytes);
  const CommandResult result = shell(3, "if [ $PINION_RANK = 2 ]; then exec cat $0/bytes; fi");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_TRUE(result.output == bytes) << result.output.size() << " bytes";
}

TEST_F(RankOutput, IsTaggedWhenAskedFor) {
  const std::string script = "echo out; echo; printf err >&2";
  const CommandResult two = shell(2, script, {"--tag-output"});
  EXPECT_THAT(lines_of(two.output), UnorderedElementsAre("[0] out", "[0] ", "[1] out", "[1] "));
  EXPECT_THAT(lines_of(two.errors), UnorderedElementsAre("[0,err] err", "[1,err] err"));
  const CommandResult one = shell(1, script, {"--tag-output"});
  EXPECT_THAT(lines_of(one.output), ElementsAre("[0] out", "[0] "));
  EXPECT_EQ(one.errors, "[0,err] err");
}

TEST_F(RankOutput, ThatNobodyReadsEndsTheRanks) {
  std::vector<std::string> command = on_ranks(2, {"yes"});
  command.insert(command.begin(), {"sh", "-c", "\"$@\" | head -n 3", "sh"});
  const CommandResult result = run(command);
  EXPECT_EQ(result.output, "y\ny\ny\n");
  EXPECT_FALSE(something_runs());
}

TEST_F(RankOutput, ThatCannotBeWrittenIsAnError) {
  std::vector<std::string> command = on_ranks(2, {"echo", "words"});
  command.insert(command.begin(), {"sh", "-c", "exec \"$@\" > /dev/full", "sh"});
  const CommandResult result = run(command);
  EXPECT_EQ(result.status, 71);
  EXPECT_THAT(result.errors, testing::HasSubstr("writing to standard output"));
}

}  // namespace
}  // namespace pinion
