// Steps whose answers stay distributed, with real processes: what each rank has mapped is read from
// the kernel.

#include <cstdint>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kKeyCount = 200'000;

// The sums of the keys by their last digit.
std::string expected_output() {
  std::string lines;
  for (std::uint64_t digit = 0; digit < 10; ++digit) {
    const std::uint64_t count = kKeyCount / 10;
    lines += std::to_string(10 * (count * (count - 1) / 2) + digit * count) + "\n";
  }
  return lines;
}

class Pipeline : public JobTest {
 protected:
  struct Mapped {
    std::uint64_t between_the_steps = 0;
    std::uint64_t most_in_a_body = 0;
    std::uint64_t partition_count = 0;
  };

  [[nodiscard]] Mapped mapped_by(const std::string& rank_and_life) const {
    std::istringstream words(read_file(path("rank-" + rank_and_life)));
    Mapped mapped;
    words >> mapped.between_the_steps >> mapped.most_in_a_body >> mapped.partition_count;
    return mapped;
  }

  [[nodiscard]] std::vector<std::string> program() const {
    return {PIPELINE_PROGRAM, std::to_string(kKeyCount), folder_.path()};
  }
};

TEST_F(Pipeline, AnswersTheSameAlone) {
  const CommandResult result = run(program());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, expected_output());
}

// While a body runs, a rank of one worker has its partition mapped, and the plan; and what it seals
// and reports. All partitions would be many more.
TEST_F(Pipeline, MapsNoPartitionThatARankDoesNotRead) {
  const CommandResult result = run(on_ranks(2, program(), {"--quiet"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, expected_output());
  for (const char* const rank : {"0.1", "1.1"}) {
    const Mapped mapped = mapped_by(rank);
    EXPECT_EQ(mapped.between_the_steps, 0u) << rank;
    EXPECT_LE(mapped.most_in_a_body, 6u) << rank;
    EXPECT_GE(mapped.partition_count, 16u) << rank;
  }
}

TEST_F(Pipeline, GoesOnWhereARankDiesBetweenTheSteps) {
  std::vector<std::string> dying = program();
  dying.push_back("die");
  const CommandResult result = run(on_ranks(2, dying, {"--quiet"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, expected_output());
  EXPECT_EQ(mapped_by("1.2").between_the_steps, 0u);
  EXPECT_GE(mapped_by("1.2").partition_count, 16u);
}

}  // namespace
}  // namespace pinion
