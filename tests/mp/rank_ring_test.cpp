// Two ranks of a job and the ring between them, which their agent makes.

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

class RingOfRanks : public JobTest {};

TEST_F(RingOfRanks, CarriesMessagesPastTheAgent) {
  const CommandResult result = run(on_ranks(2, {RING_PROGRAM, "1000", "0"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "1000 messages, then the end\n");
}

TEST_F(RingOfRanks, GivesWhatADeadRankSentAndThenANewRingWithItsNextLife) {
  const CommandResult result = run(on_ranks(2, {RING_PROGRAM, "1000", "17"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "17 messages, then UNAVAILABLE\n1000 messages, then the end\n");
}

}  // namespace
}  // namespace pinion
