#include <pinion/core/bytes.hpp>

#include <chrono>
#include <cstdint>
#include <type_traits>

#include <gtest/gtest.h>

namespace pinion {
namespace {

using namespace std::chrono_literals;

static_assert(std::is_same_v<decltype(1_KiB), std::uint64_t>);
static_assert(3_KiB == 3072 && 16_MiB == 16'777'216 && 2_GiB == 2'147'483'648);
static_assert(17'179'869'183_GiB == UINT64_MAX - (1_GiB - 1));

TEST(FormatBytes, CountsSmallSizesExactly) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
}

TEST(FormatBytes, ShowsTwoDecimalsOfTheLargestUnit) {
  EXPECT_EQ(format_bytes(1_KiB), "1.00 KiB");
  EXPECT_EQ(format_bytes(1_KiB + 52), "1.05 KiB");
  EXPECT_EQ(format_bytes(1536_MiB), "1.50 GiB");
  EXPECT_EQ(format_bytes(64_MiB), "64.00 MiB");
}

TEST(FormatUnits, TakesTheNextUnitWhenRoundingReachesIt) {
  EXPECT_EQ(format_bytes(1_MiB - 1), "1.00 MiB");
  EXPECT_EQ(format_bytes(1_MiB - 1_KiB), "1023.00 KiB");
  EXPECT_EQ(format_duration(999'996ns), "1.00 ms");
  EXPECT_EQ(format_duration(999'994ns), "999.99 us");
}

TEST(FormatBytes, TakesTheLargestNumber) {
  EXPECT_EQ(format_bytes(UINT64_MAX), "16.00 EiB");
  EXPECT_EQ(format_bytes((1ull << 60) + (1ull << 59)), "1.50 EiB");
}

TEST(FormatDuration, ChoosesTheUnit) {
  EXPECT_EQ(format_duration(0ns), "0 ns");
  EXPECT_EQ(format_duration(999ns), "999 ns");
  EXPECT_EQ(format_duration(1us), "1.00 us");
  EXPECT_EQ(format_duration(1200us), "1.20 ms");
  EXPECT_EQ(format_duration(1500ms), "1.50 s");
  EXPECT_EQ(format_duration(59'994ms), "59.99 s");
  EXPECT_EQ(format_duration(59'996ms), "1 min 0 s");
  EXPECT_EQ(format_duration(125s), "2 min 5 s");
  EXPECT_EQ(format_duration(3599'999ms), "59 min 59 s");
  EXPECT_EQ(format_duration(3h + 4min + 59s), "3 h 4 min");
}

TEST(FormatDuration, TakesNegativeAndExtremeSpans) {
  EXPECT_EQ(format_duration(-1500ms), "-1.50 s");
  EXPECT_EQ(format_duration(Duration::min()), "-2562047 h 47 min");
  EXPECT_EQ(format_duration(Duration::max()), "2562047 h 47 min");
}

}  // namespace
}  // namespace pinion
