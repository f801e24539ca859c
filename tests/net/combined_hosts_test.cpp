// Jobs whose hosts combine their partials before others pull them.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/word_corpus.hpp"
#include "net/job_on_hosts.hpp"
#include "net/pulled_blobs.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;

class CombiningHosts : public JobOnHosts {
 protected:
  // Hosts of two ranks that combine whatever they have, in batches of a shard; nothing is given to
  // a second rank for being late.
  [[nodiscard]] std::vector<std::string> combining(const std::vector<std::string>& program,
                                                   std::vector<std::string> options = {},
                                                   std::size_t host_count = 2,
                                                   int ranks_of_host = 2) {
    const std::vector<std::string> more = {
        "--grant-log", path("grants"),      "--set", "combine-bytes=0",  "--set", "batch-shards=1",
        "--set",       "late-seconds=1000", "--set", "lease-seconds=600"};
    options.insert(options.end(), more.begin(), more.end());
    return on_hosts(std::vector<int>(host_count, ranks_of_host), program, options);
  }

  // A vector of one partition on four hosts of a rank, of which pairs combine theirs.
  [[nodiscard]] std::vector<std::string> combining_pairs(std::vector<std::string> options = {}) {
    return combining({VECTOR_PROGRAM, "24", "20000"}, std::move(options), 4, 1);
  }
  static constexpr const char* kSumOfPairs = "4800240000\n";

  // Of the first step, by ranks of that host.
  [[nodiscard]] std::uint64_t accepted_on(std::uint64_t host, const std::string& stage) const {
    const std::vector<nlohmann::json> log = grant_log();
    return static_cast<std::uint64_t>(std::count_if(log.begin(), log.end(), [&](const auto& line) {
      return line.at("event") == "accepted" && line.at("stage") == stage && line.at("step") == 1 &&
             line.at("rank").template get<std::uint64_t>() / 2 == host;
    }));
  }
};

TEST_F(CombiningHosts, PullsEachPartitionOfAHostOnce) {
  constexpr std::uint64_t kPartitionCount = 32;
  bool every_host_combined = false;
  // A host that got no more than a shard has nothing to combine.
  for (int attempt = 0; attempt < 50 && !every_host_combined; ++attempt) {
    const CommandResult result = run(combining({MANY_KEYS_PROGRAM, "24", "20000"}));
    ASSERT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, "20000 keys, sum 4800240000\n");
    EXPECT_THAT(fence_violations(grant_log()), IsEmpty());
    every_host_combined = accepted_on(0, "map") >= 2 && accepted_on(1, "map") >= 2;
    if (!every_host_combined) {
      continue;
    }
    EXPECT_EQ(accepted_on(0, "combine"), kPartitionCount);
    EXPECT_EQ(accepted_on(1, "combine"), kPartitionCount);
    // Each host pulls of each partition what the other has of it, to merge it, or else the answer,
    // and of the plans those of the other.
    const auto pulled = pulled_blobs(result.errors);
    ASSERT_TRUE(pulled) << result.errors;
    EXPECT_GE((*pulled)[0].count, kPartitionCount) << result.errors;
    EXPECT_GE((*pulled)[1].count, kPartitionCount) << result.errors;
    // Of the second step one rank runs all, and may have done so before others read its plan.
    EXPECT_THAT((*pulled)[0].count + (*pulled)[1].count,
                AnyOf(2 * kPartitionCount + 1, 2 * kPartitionCount + 2))
        << result.errors;
  }
  EXPECT_TRUE(every_host_combined);
}

TEST_F(CombiningHosts, CountWordsAsOneRankDoes) {
  const WordCorpus corpus = WordCorpus::of_seed(3);
  write_file(path("text"), corpus.text);
  for (const std::size_t host_count : {std::size_t{2}, std::size_t{3}}) {
    std::filesystem::remove(path("grants"));
    const CommandResult result =
        run(combining({WORD_PROGRAM, "6000", path("out"), path("text")}, {}, host_count));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(read_file(path("out")), corpus.counts);
    EXPECT_THAT(fence_violations(grant_log()), IsEmpty());
    EXPECT_GT(accepted_on(0, "combine") + accepted_on(1, "combine") + accepted_on(2, "combine"),
              0u);
    std::filesystem::remove(path("out"));
  }
}

TEST_F(CombiningHosts, DoNotOnOneHost) {
  const CommandResult result =
      run(on_ranks(4, {MANY_KEYS_PROGRAM, "24", "20000"},
                   {"--grant-log", path("grants"), "--set", "combine-bytes=0"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(accepted_on(0, "combine") + accepted_on(1, "combine"), 0u);
}

TEST_F(CombiningHosts, DoNotWhereLittleIsSpared) {
  const CommandResult result =
      run(on_hosts({2, 2}, {MANY_KEYS_PROGRAM, "24", "20000"}, grant_log_option()));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(accepted_on(0, "combine") + accepted_on(1, "combine"), 0u);
}

TEST_F(CombiningHosts, AddVectorsInPairs) {
  bool every_host_mapped = false;
  for (int attempt = 0; attempt < 50 && !every_host_mapped; ++attempt) {
    std::filesystem::remove(path("grants"));
    const CommandResult result = run(combining_pairs());
    ASSERT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, kSumOfPairs);
    const std::vector<nlohmann::json> log = grant_log();
    EXPECT_THAT(fence_violations(log), IsEmpty());
    std::set<std::uint64_t> mapped;
    std::set<std::uint64_t> pairs;
    for (const nlohmann::json& line : log) {
      if (line.at("event") != "accepted" || line.at("step") != 1) {
        continue;
      }
      if (line.at("stage") == "map") {
        mapped.insert(line.at("rank").get<std::uint64_t>());
      } else if (line.at("stage") == "combine" && line.at("units").at(0) >= 4) {
        pairs.insert(line.at("rank").get<std::uint64_t>());
      }
    }
    every_host_mapped = mapped.size() == 4;
    EXPECT_TRUE(!every_host_mapped || pairs == (std::set<std::uint64_t>{0, 2}));
  }
  EXPECT_TRUE(every_host_mapped);
}

// The loss of a host that combines at many moments of a job, as in lost_host_test.cpp.
class CombiningHostLost : public CombiningHosts, public testing::WithParamInterface<std::size_t> {};

TEST_P(CombiningHostLost, CostsWhatItHeldAndNotTheAnswer) {
  const WordCorpus corpus = WordCorpus::of_seed(GetParam());
  write_file(path("text"), corpus.text);
  RunningCommand running(
      folder_,
      combining({WORD_PROGRAM, "12000", path("out"), path("text")}, stop_option(GetParam())),
      environment());
  // The ranks may have ended when the head stops itself.
  if (const pid_t head = stopped_agent(running); head != 0) {
    if (const pid_t agent = agent_of_rank(2); agent != 0) {
      kill(agent, SIGKILL);
    }
    kill(head, SIGCONT);
  }
  const std::optional<int> status = running.wait_for(120s);
  // Only the results of a finished step cannot be made again, which a rank has yet to come to or to
  // open.
  if (status == 74) {
    EXPECT_THAT(running.errors(), HasSubstr("host 1"));
    EXPECT_GT(accepted_on(0, "merge") + accepted_on(1, "merge"), 0u);
    return;
  }
  EXPECT_EQ(status, 0) << running.errors();
  EXPECT_EQ(read_file(path("out")), corpus.counts);
}

class PairedHostLost : public CombiningHosts, public testing::WithParamInterface<std::size_t> {};

TEST_P(PairedHostLost, CostsWhatItHeldAndNotTheAnswer) {
  const std::size_t lost = 1 + GetParam() / 8 % 3;
  RunningCommand running(folder_, combining_pairs(stop_option(GetParam())), environment());
  if (const pid_t head = stopped_agent(running); head != 0) {
    if (const pid_t agent = agent_of_rank(lost); agent != 0) {
      kill(agent, SIGKILL);
    }
    kill(head, SIGCONT);
  }
  const std::optional<int> status = running.wait_for(120s);
  if (status == 74) {
    EXPECT_THAT(running.errors(), HasSubstr("host " + std::to_string(lost)));
    EXPECT_GT(accepted_on(0, "merge") + accepted_on(1, "merge"), 0u);
    return;
  }
  EXPECT_EQ(status, 0) << running.errors();
  EXPECT_EQ(running.output(), kSumOfPairs);
}

INSTANTIATE_TEST_SUITE_P(At, PairedHostLost, testing::Range<std::size_t>(10, 130, 8),
                         [](const auto& it) { return "Line" + std::to_string(it.param); });

INSTANTIATE_TEST_SUITE_P(At, CombiningHostLost, testing::Range<std::size_t>(10, 250, 12),
                         [](const auto& it) { return "Line" + std::to_string(it.param); });

}  // namespace
}  // namespace pinion
