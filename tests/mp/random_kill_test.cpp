// A rank of a word count is killed at one of thirty random moments of the job. A moment is a length
// of the grant log, so that they are spread over all that the job does.

#include <signal.h>

#include <algorithm>
#include <chrono>
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

constexpr std::uint64_t kSeed = 2'024;
constexpr int kTrialCount = 30;

struct Corpus {
  std::string text;
  std::string counts;  // As word_program writes them.
};

Corpus make_corpus() {
  std::mt19937_64 random(kSeed);
  std::map<std::string, int> counts;
  Corpus corpus;
  for (int line = 0; line < 3000; ++line) {
    for (int i = 0; i < 10; ++i) {
      const std::string word = "word" + std::to_string(std::min(random() % 300, random() % 300));
      ++counts[word];
      corpus.text += word + " ";
    }
    corpus.text += "\n";
  }
  for (const auto& [word, count] : counts) {
    corpus.counts += word + " " + std::to_string(count) + "\n";
  }
  return corpus;
}

bool has_event(const std::vector<json>& log, const char* event, std::uint64_t rank) {
  return std::any_of(log.begin(), log.end(), [&](const json& line) {
    return line.at("event") == event && line.at("rank") == rank;
  });
}

class RandomKill : public JobTest {
 protected:
  void SetUp() override { write_file(path("text"), corpus_.text); }

  [[nodiscard]] std::vector<std::string> command() const {
    std::vector<std::string> options = grant_log_option();
    options.insert(options.end(), {"--set", "batch-shards=2"});
    return on_ranks(2, {WORD_PROGRAM, "4096", path("out"), path("text")}, options);
  }

  // Whether the kill met a rank at work.
  bool kill_rank_at(std::uint64_t rank, std::size_t moment) {
    std::filesystem::remove(path("out"));
    std::filesystem::remove(path("grants"));
    RunningCommand running(folder_, command(), environment());
    static_cast<void>(eventually([&] {
      const std::vector<json> log = grant_log();
      const pid_t pid = pid_of(log, rank, 1);
      if (pid != 0 && log.size() >= moment) {
        kill(pid, SIGKILL);
        return true;
      }
      return running.wait_for(std::chrono::seconds(0)).has_value();
    }));
    const std::optional<int> status = running.wait_for(std::chrono::seconds(60));
    const std::vector<json> log = grant_log();
    // Killed after it had left, it is a program that fails after its work.
    const bool came_too_late = status == 137 && has_event(log, "left", rank);
    EXPECT_TRUE(status == 0 || came_too_late) << status.value_or(-1) << "\n" << running.errors();
    EXPECT_EQ(read_file(path("out")), corpus_.counts);
    EXPECT_EQ(accepted_shards(log, 1), each_once(accepted_shards(log, 1).size()));
    return has_event(log, "lost", rank);
  }

  const Corpus corpus_ = make_corpus();
};

TEST_F(RandomKill, LeavesTheAnswerAsItIs) {
  const CommandResult undisturbed = run(command());
  ASSERT_EQ(undisturbed.status, 0) << undisturbed.errors;
  ASSERT_EQ(read_file(path("out")), corpus_.counts);
  const std::vector<json> log = grant_log();
  ASSERT_GT(accepted_shards(log, 1).size(), 20u);

  std::mt19937_64 random(kSeed);
  int hit_count = 0;
  for (int trial = 0; trial < kTrialCount && !HasFailure(); ++trial) {
    const std::uint64_t rank = random() % 2;
    // The last quarter of the log is written when there is little left to kill.
    const std::size_t moment = 2 + random() % (log.size() * 3 / 4);
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", trial " + std::to_string(trial) + ": rank " +
                 std::to_string(rank) + " after " + std::to_string(moment) + " lines");
    hit_count += kill_rank_at(rank, moment) ? 1 : 0;
  }
  EXPECT_GE(hit_count, kTrialCount / 3) << "most kills came too late to prove anything";
}

}  // namespace
}  // namespace pinion
