// Programs that fail, or do not behave as ranks of one job: what the others are told, how the job
// ends.

#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class FailingProgram : public JobTest {
 protected:
  // Attempts are counted, so nobody makes a second one beside another.
  [[nodiscard]] CommandResult fail(const std::string& way, std::size_t rank_count = 2) const {
    std::vector<std::string> options = grant_log_option();
    options.insert(options.end(), {"--set", "late-seconds=3600"});
    return run(on_ranks(rank_count, {FAILING_PROGRAM, way, path("")}, options));
  }
  [[nodiscard]] std::string told_to(int rank) const {
    return read_file(path("error." + std::to_string(rank)));
  }
};

TEST_F(FailingProgram, WhoseBodyAlwaysThrowsTellsEveryRankShardRangeRankAndWhat) {
  const CommandResult result = fail("throws-always");
  EXPECT_EQ(result.status, 67);
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(told_to(0), AllOf(HasSubstr("shard 3"), ContainsRegex("300.*400"),
                                ContainsRegex("rank [01]"), HasSubstr("the crystal is cracked")));
  EXPECT_EQ(told_to(1), told_to(0));
  EXPECT_THAT(result.errors, HasSubstr(told_to(0)));
}

TEST_F(FailingProgram, WhoseBodyAlwaysThrowsFailsAloneToo) {
  const CommandResult result = run({FAILING_PROGRAM, "throws-always", path("")});
  EXPECT_EQ(result.status, 67);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("shard 3"), ContainsRegex("300.*400"),
                                   HasSubstr("rank 0"), HasSubstr("the crystal is cracked")));
}

TEST_F(FailingProgram, WhoseBodiesThrowAfterHalfOfTheirEmitsHasExactSums) {
  const CommandResult result = fail("throws-once");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "the sum is 499500\n");
  EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(10));
  // Half of the ten did throw.
  EXPECT_EQ(count_of("the first time never works", read_file(path("grants"))), 5u);
}

TEST_F(FailingProgram, WhoseBodiesThrowAfterHalfOfTheirEmitsHasExactSumsAloneToo) {
  const CommandResult result = run({FAILING_PROGRAM, "throws-once", path("")});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "the sum is 499500\n");
}

TEST_F(FailingProgram, WhoseBodyEndsEveryRankThatRunsItFailsAndNamesTheShard) {
  // Of four, one has not died and so knows what input the shard has.
  const CommandResult result = fail("dies", 4);
  EXPECT_EQ(result.status, 67);
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(result.errors, AllOf(HasSubstr("shard 3 was held by 3 ranks when they died"),
                                   HasSubstr("killed by signal 9"),
                                   HasSubstr("; it is or begins with shard 3 (indices 300-400)")));
}

// Shards 3 and 7 are 300 to 399 and 700 to 799: 34950 and 74950.
TEST_F(FailingProgram, WhoseBadShardsMayBeSkippedSaysWhichAndHasTheSumOfTheOthers) {
  for (const std::size_t rank_count : {1U, 2U}) {
    const CommandResult result =
        run(on_ranks(rank_count, {FAILING_PROGRAM, "throws-two", path("")}, {"--skip-bad"}));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, "the sum is 389600\n");
    EXPECT_THAT(result.errors,
                AllOf(ContainsRegex("step 1 goes on without shard 3:.*\\(indices 300-400\\)"),
                      ContainsRegex("step 1 goes on without shard 7:.*\\(indices 700-800\\)"),
                      HasSubstr("the crystal is cracked"), HasSubstr("2 skipped"),
                      Not(HasSubstr("is or begins with"))));
  }
}

TEST_F(FailingProgram, SkipsAShardThatEndsEveryRank) {
  for (const std::size_t rank_count : {1U, 2U}) {
    std::filesystem::remove(path("begun.0"));  // Of the job before.
    const CommandResult result =
        run(on_ranks(rank_count, {FAILING_PROGRAM, "dies", path("")}, {"--skip-bad"}));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, "the sum is 464550\n");
    EXPECT_THAT(
        result.errors,
        AllOf(HasSubstr("step 1 goes on without shard 3: shard 3 was held by 3 ranks"),
              HasSubstr("what step 1 goes on without is or begins with shard 3 (indices 300-400)"),
              HasSubstr("1 skipped")));
  }
}

TEST_F(FailingProgram, RunsOneShardAlone) {
  for (const std::size_t rank_count : {1U, 2U}) {
    const CommandResult result = run(
        on_ranks(rank_count, {FAILING_PROGRAM, "throws-always", path("")}, {"--only-shard", "7"}));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, "the sum is 74950\n");
    EXPECT_THAT(result.errors, HasSubstr("step 1 runs shard 7 only, of 10"));
  }
  const CommandResult bad =
      run(on_ranks(2, {FAILING_PROGRAM, "throws-always", path("")}, {"--only-shard", "3"}));
  EXPECT_EQ(bad.status, 67);
}

TEST_F(FailingProgram, WhoseRanksTakeDifferentStepsNamesBoth) {
  const CommandResult result = fail("differs");
  EXPECT_EQ(result.status, 78);
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(told_to(0),
              AllOf(HasSubstr("FAILED_PRECONDITION"), HasSubstr("the ranks disagree on step 1"),
                    HasSubstr("1000"), HasSubstr("2000"), HasSubstr("rank 0"), HasSubstr("rank 1"),
                    HasSubstr("every rank must make the same calls")));
  EXPECT_EQ(told_to(1), told_to(0));
}

class AbsentRank : public JobTest {
 protected:
  void SetUp() override {
    for (int line = 0; line < 50; ++line) {
      text_ += "ten words are in each of the fifty lines here\n";
    }
    write_file(path("text"), text_);
  }

  [[nodiscard]] std::vector<std::string> command(const std::string& rank, const std::string& way,
                                                 const std::string& input) const {
    return on_ranks(2, {ABSENT_PROGRAM, rank, way, path("gate"), input}, grant_log_option());
  }

  std::string text_;
};

TEST_F(AbsentRank, ThatEndsWellIsDoneWithout) {
  for (const char* const rank : {"0", "1"}) {
    const CommandResult result = run(command(rank, "exits-0", path("text")));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, "500 words\n");
  }
}

TEST_F(AbsentRank, ThatEndsWellTakesStandardInputAlong) {
  const CommandResult result = run(command("0", "exits-0", "-"), text_);
  EXPECT_EQ(result.status, 69);
  EXPECT_THAT(result.errors, HasSubstr("standard input (-) is asked for"));
}

TEST_F(AbsentRank, ThatFailsEndsTheJobWithItsStatus) {
  for (const char* const rank : {"0", "1"}) {
    const CommandResult result = run(command(rank, "exits-3", path("text")));
    EXPECT_EQ(result.status, 3) << result.errors;
    EXPECT_THAT(result.errors,
                HasSubstr(std::string("rank ") + rank + " ended with exit status 3; the job ends"));
  }
}

// As with other launchers, the job lasts as long as its processes; the others' answer is there.
TEST_F(AbsentRank, ThatSleepsForEverIsWaitedForAfterTheAnswer) {
  for (const char* const rank : {"0", "1"}) {
    RunningCommand running(folder_, command(rank, "sleeps", path("text")), environment());
    EXPECT_TRUE(eventually([&] { return running.output() == "500 words\n"; })) << running.errors();
    EXPECT_EQ(running.wait_for(std::chrono::seconds(0)), std::nullopt);
    kill(running.pid(), SIGTERM);
    EXPECT_EQ(running.wait_for(std::chrono::seconds(60)), 143);
  }
}

TEST_F(AbsentRank, ThatJoinsButEntersNoStepDoesNotHoldUpTheOther) {
  for (const char* const rank : {"0", "1"}) {
    RunningCommand running(folder_, command(rank, "joins-late", path("text")), environment());
    EXPECT_TRUE(eventually([&] { return running.output() == "500 words\n"; })) << running.errors();
    EXPECT_EQ(running.wait_for(std::chrono::seconds(0)), std::nullopt);
    // The late one is given the answers.
    write_file(path("gate"), "open");
    EXPECT_EQ(running.wait_for(std::chrono::seconds(60)), 0) << running.errors();
    EXPECT_EQ(running.output(), "500 words\n");
    std::filesystem::remove(path("gate"));
  }
}

class ForeignProgram : public JobTest {};

TEST_F(ForeignProgram, PassesItsExitStatusThrough) {
  EXPECT_EQ(run(on_ranks(2, {"true"})).status, 0);
  EXPECT_EQ(run(on_ranks(2, {"false"})).status, 1);
  EXPECT_EQ(run(on_ranks(2, {"sh", "-c", "exit 3"})).status, 3);
}

TEST_F(ForeignProgram, ThatASignalEndsEndsTheOthers) {
  const CommandResult result = run(
      on_ranks(2, {"sh", "-c", "if [ $PINION_RANK = 1 ]; then kill -9 $$; fi; exec sleep 600"}));
  EXPECT_EQ(result.status, 137);
  EXPECT_THAT(result.errors, HasSubstr("pinion: rank 1 was killed by signal 9"));
}

TEST_F(ForeignProgram, IsNotStartedMoreOftenThanAHostHasRowsOfReferences) {
  const CommandResult refused =
      run(on_ranks(513, {"/bin/sh", "-c", "touch " + path("started")}, {"--bind-to", "none"}));
  EXPECT_EQ(refused.status, 64) << refused.errors;
  EXPECT_THAT(refused.errors, HasSubstr("512 ranks"));
  EXPECT_THAT(refused.errors, HasSubstr("--workers-per-rank"));
  EXPECT_FALSE(std::filesystem::exists(path("started")));
}

TEST_F(ForeignProgram, IsToldItsRankAndSize) {
  const CommandResult result = run(on_ranks(3, {"sh", "-c", "echo $PINION_RANK of $PINION_SIZE"}));
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(lines_of(result.output), testing::UnorderedElementsAre("0 of 3", "1 of 3", "2 of 3"));
}

TEST_F(ForeignProgram, GivesStandardInputToRank0Only) {
  const CommandResult result =
      run(on_ranks(2, {"sh", "-c", "echo $PINION_RANK has $(cat)"}), "the input");
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(lines_of(result.output), testing::UnorderedElementsAre("0 has the input", "1 has"));
}

// Beside the rank, and in a session of its own; the shell ends, they do not.
TEST_F(ForeignProgram, LeavesNoChildRunning) {
  const CommandResult result =
      run(on_ranks(2, {"sh", "-c", "sleep 600 & setsid sleep 600 & echo started"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "started\nstarted\n");
  EXPECT_FALSE(something_runs());
}

}  // namespace
}  // namespace pinion
