#include <pinion/core/clock.hpp>

#include <chrono>

#include <gtest/gtest.h>

namespace pinion {
namespace {

TEST(SystemClock, NeverGoesBack) {
  const SystemClock clock{};
  Instant before = clock.now();
  for (int i = 0; i < 1000; ++i) {
    const Instant after = clock.now();
    ASSERT_GE(after, before);
    before = after;
  }
}

TEST(SystemClock, IsTheTimeLineOfTheSteadyClock) {
  const Instant before = std::chrono::steady_clock::now();
  const Instant now = SystemClock().now();
  const Instant after = std::chrono::steady_clock::now();
  EXPECT_LE(before, now);
  EXPECT_LE(now, after);
}

}  // namespace
}  // namespace pinion
