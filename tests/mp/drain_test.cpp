// A rank that ends its work in good order while the job goes on.

#include <algorithm>
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

class DrainTest : public JobTest {};

TEST_F(DrainTest, GivesNothingMoreToARankThatHasAllAnswersAllTheSame) {
  const CommandResult result = run(on_ranks(2, {DRAIN_PROGRAM, path("")}, grant_log_option()));
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

}  // namespace
}  // namespace pinion
