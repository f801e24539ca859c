#include <pinion/gpu/virtual_time.hpp>

#include <string>

#include <gtest/gtest.h>

namespace pinion {
namespace {

using std::chrono::milliseconds;

TEST(VirtualTime, StandsStillUntilSomebodyLetsItPass) {
  VirtualTime time;
  const Instant begin = time.clock().now();
  bool called = false;
  time.call_at(begin + milliseconds(5), [&] { called = true; });
  time.advance(milliseconds(4));
  EXPECT_FALSE(called);
  EXPECT_EQ(time.clock().now(), begin + milliseconds(4));
  time.advance(milliseconds(1));
  EXPECT_TRUE(called);
  EXPECT_EQ(time.clock().now(), begin + milliseconds(5));
}

TEST(VirtualTime, CallsInTheOrderOfTimesAndThenOfCalls) {
  VirtualTime time;
  const Instant begin = time.clock().now();
  std::string order;
  time.call_at(begin + milliseconds(2), [&] { order += 'c'; });
  time.call_at(begin + milliseconds(1), [&] { order += 'a'; });
  time.call_at(begin + milliseconds(1), [&] {
    order += 'b';
    EXPECT_EQ(time.clock().now(), begin + milliseconds(1));
    // What is overdue comes at once, and time does not go back for it.
    time.call_at(begin, [&] {
      order += '!';
      EXPECT_EQ(time.clock().now(), begin + milliseconds(1));
    });
  });
  time.run();
  EXPECT_EQ(order, "ab!c");
  EXPECT_EQ(time.clock().now(), begin + milliseconds(2));
}

TEST(VirtualTime, RunsUntilACompletionIsReadyAndNoFurther) {
  VirtualTime time;
  CompletionSource source;
  const Completion done = source.completion();
  bool later = false;
  time.call_at(time.clock().now() + milliseconds(1), [&] { source.signal({}); });
  time.call_at(time.clock().now() + milliseconds(2), [&] { later = true; });
  EXPECT_TRUE(time.run_until(done));
  EXPECT_FALSE(later);
  const CompletionSource never;
  EXPECT_FALSE(time.run_until(never.completion()));
  EXPECT_TRUE(later);
}

}  // namespace
}  // namespace pinion
