// A rank of a word count is killed at one of thirty random moments of the job. A moment is a length
// of the grant log, so that they are spread over all that the job does; the agent stops there, so
// that the kill comes neither sooner nor later, however slow this process is.
//
//   PINION_KILL_TRIALS=300  that many moments instead of thirty
//   PINION_KILL_SEED=123    the seed of which they are

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kill_numbers.hpp"
#include "mp/job_test.hpp"
#include "mp/word_corpus.hpp"

namespace pinion {
namespace {

using nlohmann::json;

constexpr std::uint64_t kSeed = 2'024;  // Of the text, and of the moments unless told.

bool has_event(const std::vector<json>& log, const char* event, std::uint64_t rank) {
  return std::any_of(log.begin(), log.end(), [&](const json& line) {
    return line.at("event") == event && line.at("rank") == rank;
  });
}

class RandomKill : public JobTest {
 protected:
  void SetUp() override { write_file(path("text"), corpus_.text); }

  // `moment` 0: nobody stops.
  [[nodiscard]] std::vector<std::string> command(std::size_t moment) const {
    std::vector<std::string> options = grant_log_option();
    options.insert(options.end(), {"--set", "batch-shards=2"});
    const std::vector<std::string> stop = stop_option(moment);
    options.insert(options.end(), stop.begin(), stop.end());
    return on_ranks(2, {WORD_PROGRAM, "4096", path("out"), path("text")}, options);
  }

  // The other rank is killed where this one has not joined yet.
  void kill_rank_at(std::uint64_t rank, std::size_t moment) {
    std::filesystem::remove(path("out"));
    std::filesystem::remove(path("grants"));
    RunningCommand running(folder_, command(moment), environment());
    const pid_t agent = stopped_agent(running);
    ASSERT_NE(agent, 0) << running.errors();
    std::vector<json> log = grant_log();
    const std::uint64_t victim = pid_of(log, rank, 1) != 0 ? rank : 1 - rank;
    kill(pid_of(log, victim, 1), SIGKILL);
    kill(agent, SIGCONT);
    EXPECT_EQ(running.wait_for(std::chrono::seconds(60)), 0) << running.errors();
    log = grant_log();
    EXPECT_EQ(read_file(path("out")), corpus_.counts);
    EXPECT_EQ(accepted_shards(log, 1), each_once(accepted_shards(log, 1).size()));
    EXPECT_THAT(fence_violations(log), testing::IsEmpty());
    EXPECT_TRUE(has_event(log, "lost", victim));
  }

  const WordCorpus corpus_ = WordCorpus::of_seed(kSeed);
};

TEST_F(RandomKill, LeavesTheAnswerAsItIs) {
  const CommandResult undisturbed = run(command(0));
  ASSERT_EQ(undisturbed.status, 0) << undisturbed.errors;
  ASSERT_EQ(read_file(path("out")), corpus_.counts);
  const std::size_t shard_count = accepted_shards(grant_log(), 1).size();
  ASSERT_GT(shard_count, 20u);

  const std::uint64_t trial_count = number_of_environment("PINION_KILL_TRIALS", 30);
  const std::uint64_t seed = kill_seed(kSeed);
  std::mt19937_64 random(seed);
  for (std::uint64_t trial = 0; trial < trial_count && !HasFailure(); ++trial) {
    const std::uint64_t rank = random() % 2;
    // Whoever is granted what, there are two lines of joining, one at least of a grant, and one for
    // each two shards that are accepted, before the merge begins.
    const std::size_t moment = 1 + random() % (3 + shard_count / 2);
    SCOPED_TRACE("PINION_KILL_SEED=" + std::to_string(seed) + ", trial " + std::to_string(trial) +
                 ": rank " + std::to_string(rank) + " after " + std::to_string(moment) + " lines");
    kill_rank_at(rank, moment);
  }
}

}  // namespace
}  // namespace pinion
