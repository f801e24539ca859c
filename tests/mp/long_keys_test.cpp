// Keys of a megabyte and more through whole jobs, alone and on two ranks.

#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kMegabyte = std::uint64_t{1} << 20;

// The parameter is the number of ranks; 0 is the program alone.
class LongKeys : public JobTest, public testing::WithParamInterface<std::size_t> {
 protected:
  [[nodiscard]] CommandResult run_program(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), LONG_KEYS_PROGRAM);
    return run(GetParam() == 0 ? arguments : on_ranks(GetParam(), arguments, {"--quiet"}));
  }
};

TEST_P(LongKeys, OfAMegabyteAndMoreAreSummedExactly) {
  constexpr std::uint64_t kKeys = 40;
  const CommandResult result =
      run_program({"24", std::to_string(kKeys), std::to_string(kMegabyte)});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, std::to_string(kKeys) + " keys of " +
                               std::to_string(kKeys * kMegabyte + kKeys * (kKeys - 1) / 2) +
                               " bytes, sum " + std::to_string(24 * kKeys * (kKeys + 1) / 2) +
                               ", 0 lost\n");
}

TEST_P(LongKeys, OfManyMegabytesAreSummedExactly) {
  const CommandResult result = run_program({"9", "2", std::to_string(17 * kMegabyte)});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output,
            "2 keys of " + std::to_string(34 * kMegabyte + 1) + " bytes, sum 27, 0 lost\n");
}

// The keys lie in the shard's text, beside short ones; no line is cut, whatever its length.
TEST_P(LongKeys, MayBeLinesOfAFile) {
  std::string text;
  for (int round = 0; round < 3; ++round) {
    for (char last = 'a'; last < 'h'; ++last) {
      text += std::string(kMegabyte + 7, 'l') + last + "\nshort\n\n";
    }
  }
  write_file(path("lines"), text);
  const CommandResult result = run_program({path("lines")});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output,
            "9 keys of " + std::to_string(7 * (kMegabyte + 8) + 5) + " bytes, sum 63, 0 lost\n");
}

INSTANTIATE_TEST_SUITE_P(OfAJob, LongKeys, testing::Values(0, 2), [](const auto& way) {
  return way.param == 0 ? std::string("Alone") : std::string("OnTwoRanks");
});

}  // namespace
}  // namespace pinion
