#include "protocol/stragglers.hpp"

#include <cstdint>

#include <gtest/gtest.h>

namespace pinion::protocol {
namespace {

using namespace std::chrono_literals;

TEST(DurationProfile, KnowsTheThirdQuartileToAnEighth) {
  DurationProfile profile;
  for (int i = 1; i <= 100; ++i) {
    profile.add(i * 1ms, 1);
  }
  EXPECT_EQ(profile.count(), 100U);
  const Duration found = DurationProfile::expected(profile.third_quartile(), 1);
  EXPECT_GE(found, 75ms);
  EXPECT_LE(found, 75ms * 9 / 8);
}

TEST(DurationProfile, ScalesByWeight) {
  DurationProfile profile;
  for (std::uint64_t weight = 1; weight <= 64; ++weight) {
    profile.add(Duration(static_cast<Duration::rep>(weight) * 1000), weight);
  }
  const Duration found = DurationProfile::expected(profile.third_quartile(), 500);
  EXPECT_GE(found, 500us);
  EXPECT_LE(found, 500us * 9 / 8);
}

TEST(DurationProfile, TakesWhatWeighsOrTakesNothing) {
  DurationProfile profile;
  profile.add(0s, 0);
  EXPECT_GT(DurationProfile::expected(profile.third_quartile(), 0), 0s);
  profile.add(Duration::max(), 0);
  profile.add(1ns, ~std::uint64_t{0});
  EXPECT_GT(DurationProfile::expected(profile.third_quartile(), ~std::uint64_t{0}), 0s);
}

}  // namespace
}  // namespace pinion::protocol
