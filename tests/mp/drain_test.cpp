// A rank that ends its work in good order while the job goes on.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using namespace std::chrono_literals;

class DrainTest : public JobTest {
 protected:
  // Nobody takes what the draining rank holds because it takes long.
  [[nodiscard]] std::vector<std::string> options() const {
    std::vector<std::string> options = grant_log_option();
    options.insert(options.end(), {"--set", "late-seconds=3600"});
    return options;
  }
};

TEST_F(DrainTest, GivesNothingMoreToARankThatHasAllAnswersAllTheSame) {
  const CommandResult result = run(on_ranks(2, {DRAIN_PROGRAM, path("")}, options()));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "the sums are 2016 and 2016\n");
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("rank 0 has 2016 and 2016"), HasSubstr("rank 1 has 2016 and 2016")));
  const std::vector<json> log = grant_log();
  const auto is_of_rank_1 = [](const char* event) {
    return [event](const json& line) { return line.at("event") == event && line.at("rank") == 1; };
  };
  const auto drained = std::find_if(log.begin(), log.end(), is_of_rank_1("drained"));
  ASSERT_NE(drained, log.end());
  EXPECT_TRUE(std::any_of(log.begin(), drained, is_of_rank_1("accepted")))
      << "it hands in what it holds";
  EXPECT_TRUE(std::none_of(drained, log.end(), is_of_rank_1("grant")));
  EXPECT_TRUE(std::none_of(drained, log.end(), is_of_rank_1("accepted")));
  EXPECT_EQ(accepted_shards(log, 1), each_once(64));
  EXPECT_EQ(accepted_shards(log, 2), each_once(64));
}

TEST_F(DrainTest, IsAskedForFromOutside) {
  RunningCommand running(folder_, on_ranks(2, {GATED_PROGRAM, path("")}, options()), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const std::string process = std::to_string(running.pid());
  const CommandResult asked = run_pinion(folder_, {"drain", process, "1", "2"}, environment());
  EXPECT_EQ(asked.status, 0) << asked.errors;
  EXPECT_TRUE(eventually([&running] {
    return running.errors().find("there is no rank 2; the job has ranks 0 to 1") !=
           std::string::npos;
  })) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("pinion: rank 1 drains"));
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), "the sum is 2016\n");
  const std::vector<json> log = grant_log();
  const auto is_of_rank_1 = [](const char* event) {
    return [event](const json& line) { return line.at("event") == event && line.at("rank") == 1; };
  };
  const auto drained = std::find_if(log.begin(), log.end(), is_of_rank_1("drained"));
  ASSERT_NE(drained, log.end());
  EXPECT_TRUE(std::none_of(drained, log.end(), is_of_rank_1("grant")));
  EXPECT_EQ(accepted_shards(log, 1), each_once(64));
}

TEST_F(DrainTest, IsRefusedWhereThereIsNoJob) {
  const CommandResult other =
      run_pinion(folder_, {"drain", std::to_string(getpid()), "0"}, environment());
  EXPECT_EQ(other.status, 66);
  EXPECT_THAT(other.errors, HasSubstr("neither a running pinion run nor its agent"));
  EXPECT_EQ(run_pinion(folder_, {"drain"}, environment()).status, 64);
  EXPECT_EQ(run_pinion(folder_, {"drain", "1", "-1"}, environment()).status, 64);
}

}  // namespace
}  // namespace pinion
