#include <pinion/core/completion.hpp>

#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/clock.hpp>

namespace pinion {
namespace {

static_assert(std::is_copy_constructible_v<Completion>);
static_assert(!std::is_copy_constructible_v<CompletionSource>);
static_assert(std::is_nothrow_move_constructible_v<CompletionSource>);

const Status kFailure(ErrorCode::kUnavailable, "the peer is gone");

TEST(Completion, IsNotReadyBeforeTheSignal) {
  CompletionSource source;
  const Completion completion = source.completion();
  EXPECT_FALSE(completion.ready());
  source.signal(Status());
  EXPECT_TRUE(completion.ready());
  EXPECT_TRUE(completion.status().ok());
}

TEST(Completion, CarriesTheOutcomeToAllCopies) {
  CompletionSource source;
  const Completion first = source.completion();
  const Completion second = first;
  source.signal(kFailure);
  EXPECT_EQ(first.status().to_string(), kFailure.to_string());
  EXPECT_EQ(&first.status(), &second.status());
  EXPECT_TRUE(source.completion().ready());
}

TEST(Completion, OutlivesItsSource) {
  std::optional<CompletionSource> source(std::in_place);
  const Completion completion = source->completion();
  source->signal(kFailure);
  source.reset();
  EXPECT_EQ(completion.status().code(), ErrorCode::kUnavailable);
}

TEST(Completion, RunsCallbacksInTheirOrderOnTheThreadThatSignals) {
  CompletionSource source;
  std::vector<int> order;
  std::thread::id ran_on;
  for (int i = 0; i < 3; ++i) {
    source.completion().on_ready([&, i](const Status& status) {
      order.push_back(i);
      ran_on = std::this_thread::get_id();
      EXPECT_EQ(status.code(), ErrorCode::kUnavailable);
    });
  }
  EXPECT_TRUE(order.empty());

  std::thread signaller([&source] { source.signal(kFailure); });
  const std::thread::id signaller_id = signaller.get_id();
  signaller.join();

  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(ran_on, signaller_id);
}

TEST(Completion, RunsALateCallbackHereAndAtOnce) {
  CompletionSource source;
  source.signal(Status());
  std::thread::id ran_on;
  source.completion().on_ready([&](const Status&) { ran_on = std::this_thread::get_id(); });
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST(Completion, RunsACallbackThatACallbackAttaches) {
  CompletionSource source;
  const Completion completion = source.completion();
  bool ran = false;
  completion.on_ready(
      [&](const Status&) { completion.on_ready([&](const Status&) { ran = true; }); });
  source.signal(Status());
  EXPECT_TRUE(ran);
}

TEST(Completion, LetsGoOfACallbackOnceItRan) {
  CompletionSource source;
  const Completion completion = source.completion();
  const auto owned = std::make_shared<int>(0);
  completion.on_ready([owned](const Status&) {});
  EXPECT_EQ(owned.use_count(), 2);
  source.signal(Status());
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(Completion, ReturnsFromWaitAtOnceWhenItIsReady) {
  CompletionSource source;
  source.signal(Status());
  source.completion().wait();
  EXPECT_TRUE(source.completion().wait_until(Instant::min()));
}

TEST(Completion, GivesUpAtTheDeadline) {
  CompletionSource source;
  const Completion completion = source.completion();
  EXPECT_FALSE(completion.wait_until(SystemClock().now()));
  EXPECT_FALSE(completion.wait_until(SystemClock().now() + std::chrono::milliseconds(2)));
  source.signal(Status());
  EXPECT_TRUE(completion.wait_until(SystemClock().now()));
}

TEST(Completion, WakesAllThatWait) {
  CompletionSource source;
  std::latch about_to_wait(4);
  std::vector<std::thread> threads;
  std::atomic<int> woken = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i, completion = source.completion()] {
      about_to_wait.count_down();
      if (i % 2 == 0) {
        completion.wait();
      } else {
        EXPECT_TRUE(completion.wait_until(SystemClock().now() + std::chrono::hours(1)));
      }
      EXPECT_EQ(completion.status().code(), ErrorCode::kUnavailable);
      ++woken;
    });
  }
  about_to_wait.wait();
  source.signal(kFailure);
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(woken, 4);
}

// The race of signal against attach, sleep and look, many times from a common start. What the
// signaller wrote before is a plain variable, so that a missing pair of memory orders is a data
// race.
TEST(Completion, HandsOverWhatWasWrittenBeforeTheSignal) {
  constexpr int kRounds = 500;
  std::array<CompletionSource, kRounds> sources;
  std::array<int, kRounds> written = {};
  std::array<std::atomic<int>, kRounds> ran = {};
  std::barrier start(4);
  std::thread signaller([&] {
    for (std::size_t i = 0; i < kRounds; ++i) {
      start.arrive_and_wait();
      written[i] = 1;
      sources[i].signal(Status());
    }
  });
  std::thread looker([&] {
    for (std::size_t i = 0; i < kRounds; ++i) {
      const Completion completion = sources[i].completion();
      start.arrive_and_wait();
      if (completion.ready()) {
        EXPECT_EQ(written[i], 1);
      }
    }
  });
  std::thread sleeper([&] {
    for (std::size_t i = 0; i < kRounds; ++i) {
      const Completion completion = sources[i].completion();
      start.arrive_and_wait();
      completion.wait();
      EXPECT_EQ(written[i], 1);
    }
  });
  for (std::size_t i = 0; i < kRounds; ++i) {
    const Completion completion = sources[i].completion();
    start.arrive_and_wait();
    for (int callback = 0; callback < 3; ++callback) {
      completion.on_ready([&, i](const Status&) { ran[i] += written[i]; });
    }
  }
  signaller.join();
  looker.join();
  sleeper.join();
  for (const std::atomic<int>& count : ran) {
    EXPECT_EQ(count, 3);
  }
}

TEST(CompletionSource, SignalsThatItWasAbandoned) {
  std::optional<CompletionSource> source(std::in_place);
  const Completion completion = source->completion();
  std::string words;
  completion.on_ready([&words](const Status& status) { words = status.to_string(); });
  source.reset();
  EXPECT_EQ(completion.status().code(), ErrorCode::kAborted);
  EXPECT_EQ(words.find("ABORTED: abandoned"), 0u) << words;
}

TEST(CompletionSource, AbandonsWhatItHeldWhenAnotherIsMovedIn) {
  CompletionSource source;
  const Completion first = source.completion();
  CompletionSource other;
  const Completion second = other.completion();
  source = std::move(other);
  EXPECT_EQ(first.status().code(), ErrorCode::kAborted);
  EXPECT_FALSE(second.ready());
  source.signal(Status());
  EXPECT_TRUE(second.status().ok());
}

TEST(CompletionSource, SignalsNothingAfterItWasMovedFrom) {
  CompletionSource source;
  const Completion completion = source.completion();
  std::optional<CompletionSource> other(std::move(source));
  EXPECT_FALSE(completion.ready());
  other.reset();
  EXPECT_TRUE(completion.ready());
}

TEST(CompletionSource, MayBeDestroyedByItsOwnCallback) {
  auto source = std::make_unique<CompletionSource>();
  source->completion().on_ready([&source](const Status&) { source.reset(); });
  source->signal(Status());
  EXPECT_EQ(source, nullptr);
}

TEST(CompletionDeathTest, DiesOfMisuse) {
  CompletionSource source;
  const Completion completion = source.completion();
  EXPECT_DEATH(static_cast<void>(completion.status()), "ready\\(\\)");
  EXPECT_DEATH(completion.on_ready(nullptr), "callback != nullptr");
  source.signal(Status());
  EXPECT_DEATH(source.signal(Status()), "signal_begun");
}

}  // namespace
}  // namespace pinion
