// The loss of a host at each of many moments of a job, which its head's grant log names: the head
// stops itself there, the agent of the other host is killed, the head goes on.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/word_corpus.hpp"
#include "net/job_on_hosts.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class LostHost : public JobOnHosts, public testing::WithParamInterface<std::size_t> {
 protected:
  // Counts words, and loses the other host where the parameter says.
  void lose_the_other_host(const WordCorpus& corpus, const std::string& shard_bytes);

  // Of the first step; they come after all of its shards.
  [[nodiscard]] std::size_t accepted_merges() const {
    const std::vector<nlohmann::json> log = grant_log();
    return static_cast<std::size_t>(std::count_if(log.begin(), log.end(), [](const auto& line) {
      return line.at("event") == "accepted" && line.at("stage") == "merge" && line.at("step") == 1;
    }));
  }
};

void LostHost::lose_the_other_host(const WordCorpus& corpus, const std::string& shard_bytes) {
  write_file(path("text"), corpus.text);
  std::vector<std::string> options = grant_log_option();
  for (const std::string& option : stop_option(GetParam())) {
    options.push_back(option);
  }
  RunningCommand running(
      folder_, on_hosts({1, 1}, {WORD_PROGRAM, shard_bytes, path("out"), path("text")}, options),
      environment());
  // The ranks may have ended when the head stops itself.
  if (const pid_t head = stopped_agent(running); head != 0) {
    if (const pid_t agent = agent_of_rank(1); agent != 0) {
      kill(agent, SIGKILL);
    }
    kill(head, SIGCONT);
  }
  const std::optional<int> status = running.wait_for(120s);
  // Only the results of a finished step cannot be made again, which a rank has yet to come to or to
  // open.
  if (status == 74) {
    EXPECT_THAT(running.errors(), HasSubstr("host 1"));
    EXPECT_THAT(accepted_merges(), testing::Gt(0u));
    return;
  }
  EXPECT_EQ(status, 0) << running.errors();
  EXPECT_EQ(read_file(path("out")), corpus.counts);
}

TEST_P(LostHost, CostsWhatItHeldAndNotTheAnswer) {
  lose_the_other_host(WordCorpus::of_seed(GetParam()), "4000");
}

INSTANTIATE_TEST_SUITE_P(At, LostHost, testing::Range<std::size_t>(3, 63, 4),
                         [](const auto& it) { return "Line" + std::to_string(it.param); });

// Partials of which the other host pulls partitions, and not the whole.
class HostLostWithLargePartials : public LostHost {};

TEST_P(HostLostWithLargePartials, CostsWhatItHeldAndNotTheAnswer) {
  lose_the_other_host(WordCorpus::of_many_words(GetParam()), "30000");
}

INSTANTIATE_TEST_SUITE_P(At, HostLostWithLargePartials, testing::Range<std::size_t>(5, 130, 5),
                         [](const auto& it) { return "Line" + std::to_string(it.param); });

}  // namespace
}  // namespace pinion
