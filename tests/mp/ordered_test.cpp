// The answer of an ordered step is equal to the last bit on one, two and three ranks of one and two
// workers, and when rank 0 is killed in the middle of it. Ordered and not, the sums of the program
// are shown to depend on how shards are batched.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using nlohmann::json;

class Ordered : public JobTest {
 protected:
  [[nodiscard]] std::vector<std::string> command(
      int rank_count, int worker_count, const std::string& batch_shard_count,
      const std::vector<std::string>& options = {}) const {
    std::vector<std::string> all = {"--quiet"};
    all.insert(all.end(), options.begin(), options.end());
    return on_ranks(static_cast<std::size_t>(rank_count), {ORDERED_PROGRAM, batch_shard_count}, all,
                    static_cast<std::size_t>(worker_count));
  }

  [[nodiscard]] std::string answer(const std::vector<std::string>& words) const {
    const CommandResult result = run(words);
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(lines_of(result.output).size(), 43u);
    return result.output;
  }

  // The answer when the first life of rank 0 is killed with a batch done and another begun.
  [[nodiscard]] std::string answer_with_a_kill(int rank_count, int worker_count,
                                               const std::string& batch_shard_count) const {
    const std::string gate =
        path("gate." + std::to_string(rank_count) + std::to_string(worker_count));
    const std::string log_path = gate + ".log";
    RunningCommand running(
        folder_, command(rank_count, worker_count, batch_shard_count, {"--grant-log", log_path}),
        environment({{"PINION_TEST_GATE", gate}}));
    EXPECT_TRUE(eventually([&] { return access((gate + ".reached").c_str(), F_OK) == 0; }));
    EXPECT_TRUE(eventually([&] {
      const std::vector<json> log = parse_log(read_file(log_path));
      return std::any_of(log.begin(), log.end(), [](const json& line) {
        return line.at("event") == "accepted" && line.at("rank") == 0;
      });
    }));
    const pid_t pid = pid_of(parse_log(read_file(log_path)), 0, 1);
    EXPECT_GT(pid, 0);
    EXPECT_EQ(kill(pid, SIGKILL), 0);
    const std::optional<int> status = running.wait_for(std::chrono::seconds(60));
    EXPECT_EQ(status, 0) << running.errors();
    const std::vector<json> log = parse_log(read_file(log_path));
    EXPECT_TRUE(std::any_of(log.begin(), log.end(), [](const json& line) {
      return line.at("event") == "lost" && line.at("rank") == 0;
    }));
    return running.output();
  }
};

TEST_F(Ordered, GivesTheSameBitsOnAnyNumberOfRanksAndWorkers) {
  const std::string alone = answer({ORDERED_PROGRAM, "2"});
  for (const int rank_count : {1, 2, 3}) {
    for (const int worker_count : {1, 2}) {
      SCOPED_TRACE(std::to_string(rank_count) + " ranks of " + std::to_string(worker_count));
      EXPECT_EQ(answer(command(rank_count, worker_count, "2")), alone);
    }
  }
  // What the settings say of batches makes no difference.
  EXPECT_EQ(answer(command(2, 2, "2", {"--set", "batch-shards=1"})), alone);
}

TEST_F(Ordered, GivesTheSameBitsWhenARankIsKilledAtWork) {
  const std::string alone = answer({ORDERED_PROGRAM, "2"});
  for (const int rank_count : {1, 2, 3}) {
    for (const int worker_count : {1, 2}) {
      SCOPED_TRACE(std::to_string(rank_count) + " ranks of " + std::to_string(worker_count));
      EXPECT_EQ(answer_with_a_kill(rank_count, worker_count, "2"), alone);
    }
  }
}

// So the tests above would see batches that are not fixed, or merged in another order.
TEST_F(Ordered, SumsThatDependOnHowShardsAreBatched) {
  EXPECT_NE(answer({ORDERED_PROGRAM, "2"}), answer({ORDERED_PROGRAM, "3"}));
  EXPECT_NE(answer(command(1, 1, "0", {"--set", "batch-shards=1"})),
            answer(command(1, 1, "0", {"--set", "batch-shards=50"})));
}

}  // namespace
}  // namespace pinion
