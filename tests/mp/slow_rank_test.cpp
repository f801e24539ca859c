// A rank at a tenth of the speed of the other, with everything as it is set unless somebody asks
// for something else. Bodies sleep, and what they took is measured, so other work on the machine
// counts for as little as can be.

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

constexpr double kMost = 1.15;
constexpr int kTryCount = 10;

class SlowRank : public JobTest {
 protected:
  /// How many times as long as the work over the speed of both ranks the step takes. Of a few jobs
  /// the best: one that other programs hold up says nothing of how its work is shared out.
  [[nodiscard]] double of_least(const std::vector<std::string>& work,
                                const std::vector<std::string>& options) const {
    std::vector<std::string> program = {SLOW_RANK_PROGRAM};
    program.insert(program.end(), work.begin(), work.end());
    double best = std::numeric_limits<double>::max();
    for (int i = 0; i < kTryCount && best > kMost && !HasFailure(); ++i) {
      const CommandResult result = run(on_ranks(2, program, options));
      EXPECT_EQ(result.status, 0) << result.errors;
      if (result.status == 0) {
        const nlohmann::json times = nlohmann::json::parse(result.output);
        best = std::min(
            best, times.at("seconds").get<double>() / times.at("least_seconds").get<double>());
      }
    }
    return best;
  }
};

TEST_F(SlowRank, HasItsShareOfTheWorkAndNoMore) {
  EXPECT_LE(of_least({"300", "10", "10"}, {}), kMost);
}

// Its last shard, which takes a third of the step, is done again by the other rank.
TEST_F(SlowRank, IsHelpedWithItsLastShardWhereThatIsSoonLate) {
  EXPECT_LE(of_least({"32", "90", "10"}, {"--set", "late-seconds=0.15"}), kMost);
}

}  // namespace
}  // namespace pinion
