// Large blobs of ranks that may spill nothing, in little memory: all that their ranks hold at a
// time fits, all that they ever make does not.

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;

class BlobRoom : public JobTest {
 protected:
  // The ranks of a host may have half of their budgets in sealed segments.
  [[nodiscard]] CommandResult run_two(std::vector<std::string> program,
                                      std::vector<std::string> settings = {}) const {
    std::vector<std::string> options = {"--set", "memory-bytes=67108864", "--set",
                                        "spill-bytes-max=0"};
    options.insert(options.end(), settings.begin(), settings.end());
    program.insert(program.begin(), BLOB_PROGRAM);
    return run(on_ranks(2, program, options));
  }
};

TEST_F(BlobRoom, IsThereAgainOnceABlobIsDropped) {
  for (const std::string pages : {"huge-pages=0", "huge-pages=1"}) {
    const CommandResult result = run_two({"turns"}, {"--set", pages});
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_THAT(lines_of(result.output),
                UnorderedElementsAre("rank 0 had room", "rank 1 had room"));
  }
}

TEST_F(BlobRoom, IsWaitedForUntilAnotherRankDropsIts) {
  const CommandResult result = run_two({"wait", path("")}, {"--set", "memory-wait-seconds=60"});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(lines_of(result.output), UnorderedElementsAre("rank 0 had room", "rank 1 had room"));
}

// Rank 0 keeps what it has, as it waits for a file that nobody makes while rank 1 is refused.
TEST_F(BlobRoom, IsRefusedWithWordsWhenNobodyDropsAny) {
  const CommandResult result = run_two({"keep", path("")}, {"--set", "memory-wait-seconds=0.05"});
  EXPECT_EQ(result.status, 71) << result.errors;
  for (const char* const part : {"RESOURCE_EXHAUSTED", "memory-wait-seconds", "memory-bytes"}) {
    EXPECT_THAT(result.errors, HasSubstr(part));
  }
}

}  // namespace
}  // namespace pinion
