// A body that hangs, in a step whose shards have a deadline.

#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;

class DeadlineTest : public JobTest {};

// Two workers each, as a second rank may be given the shard too before its time is over, and hangs
// as well.
TEST_F(DeadlineTest, AHangingBodyDoesNotHoldUpTheAnswer) {
  std::vector<std::string> options = grant_log_option();
  options.insert(options.end(), {"--set", "batch-shards=1"});
  RunningCommand running(folder_, on_ranks(2, {DEADLINE_PROGRAM, path("")}, options, 2),
                         environment());
  // Shard 5 counts, while its first attempts hang.
  EXPECT_TRUE(eventually([this] { return accepted_shards(grant_log(), 1) == each_once(64); }))
      << running.errors();
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(std::chrono::seconds(60)), 0) << running.errors();
  EXPECT_THAT(running.output(), HasSubstr("rank 0 has 2016\n"));
  EXPECT_THAT(running.output(), HasSubstr("rank 1 has 2016\n"));
  EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
}

}  // namespace
}  // namespace pinion
