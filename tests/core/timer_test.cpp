#include <pinion/core/timer.hpp>

#include <chrono>
#include <latch>
#include <memory>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using testing::ElementsAre;

TEST(SystemTimer, CallsBackInTheOrderOfTheTimes) {
  const auto timer = SystemTimer::create().value();
  std::latch done(4);
  std::vector<int> order;
  const auto note = [&](int number) {
    return [&order, &done, number] {
      order.push_back(number);
      done.count_down();
    };
  };
  // All are there before the first can be called, as one callback runs at a time.
  timer->call_at({}, [&] {
    const Instant now = timer->clock().now();
    timer->call_at(now + std::chrono::milliseconds(20), note(3));
    timer->call_at(now + std::chrono::milliseconds(10), note(1));
    timer->call_at(now + std::chrono::milliseconds(10), note(2));
    timer->call_at(now + std::chrono::milliseconds(30), note(4));
  });
  done.wait();
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 4));
}

TEST(SystemTimer, DoesNotCallBackEarly) {
  const auto timer = SystemTimer::create().value();
  std::latch done(1);
  const Instant due = timer->clock().now() + std::chrono::milliseconds(5);
  Instant called{};
  timer->call_at(due, [&] {
    called = timer->clock().now();
    done.count_down();
  });
  done.wait();
  EXPECT_GE(called, due);
}

TEST(SystemTimer, TakesAnotherCallInsideACallback) {
  const auto timer = SystemTimer::create().value();
  std::latch done(1);
  timer->call_at({}, [&] { timer->call_at({}, [&] { done.count_down(); }); });
  done.wait();
}

TEST(SystemTimer, DropsWhatIsNotDueAtItsEnd) {
  const auto held = std::make_shared<int>(0);
  {
    const auto timer = SystemTimer::create().value();
    timer->call_at(timer->clock().now() + std::chrono::hours(1), [held] { ++*held; });
  }
  EXPECT_EQ(*held, 0);
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace pinion
