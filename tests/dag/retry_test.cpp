#include <atomic>
#include <chrono>
#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pinion/dag/graph.hpp>

#include "fake_timer.hpp"
#include "run_trial.hpp"

namespace pinion {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Retry, RunsAFailedTaskAgainUntilItEndsWell) {
  const auto executor = make_executor(2);
  std::vector<std::uint32_t> attempts;
  bool after_ran = false;
  Graph graph;
  const TaskId flaky =
      graph.add({.retry = {.attempt_count_max = 5}}, [&](TaskContext& context) -> Status {
        attempts.push_back(context.attempt());
        if (attempts.size() < 3) {
          return Status(ErrorCode::kUnavailable, "not yet");
        }
        return {};
      });
  const TaskId after = graph.add([&] { after_ran = true; });
  graph.add_edge(flaky, after);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_THAT(attempts, ElementsAre(1, 2, 3));
  EXPECT_TRUE(after_ran);
  EXPECT_EQ(run.progress().ended_count, 2u);
}

TEST(Retry, GivesUpAfterTheLastAttempt) {
  const auto executor = make_executor(1);
  int attempt_count = 0;
  Graph graph;
  graph.add({.name = "flaky", .retry = {.attempt_count_max = 3}}, [&] {
    ++attempt_count;
    throw std::runtime_error("attempt " + std::to_string(attempt_count));
  });
  const auto run = compile(std::move(graph)).run(*executor).value();
  EXPECT_EQ(run.wait().to_string(), "UNKNOWN: 1 task failed: 'flaky': attempt 3");
  EXPECT_EQ(attempt_count, 3);
  EXPECT_EQ(run.errors().size(), 1u);
}

TEST(Retry, NeverRepeatsWhatCannotEndWell) {
  const auto executor = make_executor(1);
  for (const ErrorCode code : {ErrorCode::kInvalidArgument, ErrorCode::kDataLoss}) {
    int attempt_count = 0;
    Graph graph;
    graph.add({.retry = {.attempt_count_max = 3}}, [&] {
      ++attempt_count;
      return Status(code, "wrong");
    });
    EXPECT_EQ(compile(std::move(graph)).run(*executor)->wait().code(), code);
    EXPECT_EQ(attempt_count, 1);
  }
}

TEST(Retry, RepeatsWhatTheErrorTableCallsRetryable) {
  const auto executor = make_executor(1);
  for (const ErrorInfo& info : error_table().subspan(1)) {  // Without kOk.
    int attempt_count = 0;
    Graph graph;
    graph.add({.retry = {.attempt_count_max = 3}}, [&] {
      ++attempt_count;
      return Status(info.code, "so");
    });
    EXPECT_EQ(compile(std::move(graph)).run(*executor)->wait().code(), info.code);
    EXPECT_EQ(attempt_count, info.retryable ? 3 : 1) << info.name;
  }
}

std::vector<Duration> delays_with_seed(std::uint64_t seed) {
  const auto executor = make_executor(1);
  FakeTimer timer;
  Graph graph;
  graph.add({.retry = {.attempt_count_max = 7,
                       .backoff = milliseconds(10),
                       .backoff_max = milliseconds(100)}},
            [] { return Status(ErrorCode::kUnavailable, "never"); });
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor, {.seed = seed, .timer = &timer}).value();
  std::vector<Duration> delays;
  for (int i = 0; i < 6; ++i) {
    delays.push_back(timer.run_next());
  }
  EXPECT_EQ(run.wait().code(), ErrorCode::kUnavailable);
  return delays;
}

TEST(Retry, WaitsForTimesThatGrowAndDependOnTheSeedAlone) {
  const std::vector<Duration> delays = delays_with_seed(1);
  EXPECT_EQ(delays, delays_with_seed(1));
  EXPECT_NE(delays, delays_with_seed(2));
  // 10, 20, 40, 80, 100, 100 ms are the most.
  Duration most = milliseconds(10);
  Duration longest = {};
  Duration shortest = Duration::max();
  for (const Duration delay : delays) {
    EXPECT_LE(delay, most);
    most = std::min<Duration>(2 * most, milliseconds(100));
  }
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Duration delay = delays_with_seed(seed)[5];
    longest = std::max(longest, delay);
    shortest = std::min(shortest, delay);
  }
  EXPECT_GT(longest, milliseconds(90));
  EXPECT_LT(shortest, milliseconds(10));
}

TEST(Retry, FailsAnAttemptThatTakesTooLong) {
  const auto executor = make_executor(1);
  FakeTimer timer;
  int attempt_count = 0;
  Graph graph;
  graph.add({.name = "slow", .retry = {.attempt_count_max = 2, .attempt_limit = milliseconds(5)}},
            [&] {
              ++attempt_count;
              timer.pass(milliseconds(attempt_count == 1 ? 6 : 5));
            });
  const CompiledGraph compiled = compile(std::move(graph));
  EXPECT_TRUE(compiled.run(*executor, {.timer = &timer})->wait().ok());
  EXPECT_EQ(attempt_count, 2);
}

TEST(Retry, BeginsNoAttemptAfterTheTotalLimit) {
  const auto executor = make_executor(1);
  FakeTimer timer;
  int attempt_count = 0;
  Graph graph;
  graph.add({.retry = {.attempt_count_max = 100, .total_limit = milliseconds(10)}}, [&] {
    ++attempt_count;
    timer.pass(milliseconds(3));
    return Status(ErrorCode::kUnavailable, "never");
  });
  const CompiledGraph compiled = compile(std::move(graph));
  EXPECT_EQ(compiled.run(*executor, {.timer = &timer})->wait().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(attempt_count, 4);  // At 0, 3, 6 and 9 ms.
}

TEST(Retry, IsGivenUpWhenTheRunIsCancelled) {
  const auto executor = make_executor(1);
  FakeTimer timer;
  Graph graph;
  const TaskId task = graph.add(
      {.name = "flaky", .retry = {.attempt_count_max = 9, .backoff = std::chrono::hours(1)}},
      [] { return Status(ErrorCode::kUnavailable, "not yet"); });
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor, {.timer = &timer, .record_states = true}).value();
  while (run.state(task) != TaskState::kRunning) {
  }
  run.cancel();
  EXPECT_EQ(run.wait().message(), "1 task failed: 'flaky': not yet");
  EXPECT_EQ(run.state(task), TaskState::kFailed);
}

TEST(Retry, NeedsATimerForTimes) {
  const auto executor = make_executor(1);
  Graph graph;
  graph.add({.retry = {.attempt_limit = milliseconds(1)}}, [] {});
  const CompiledGraph compiled = compile(std::move(graph));
  EXPECT_THAT(std::string(compiled.run(*executor).error().message()),
              HasSubstr("RunOptions::timer"));
}

TEST(Retry, RefusesAPolicyWithoutAnAttempt) {
  for (const RetryPolicy& policy :
       {RetryPolicy{.attempt_count_max = 0}, RetryPolicy{.backoff = milliseconds(-1)}}) {
    Graph graph;
    graph.add({.name = "never", .retry = policy}, [] {});
    EXPECT_THAT(std::string(std::move(graph).compile().error().message()),
                HasSubstr("the retry policy of 'never'"));
  }
}

// Each task of a graph of 20 fails in turn, at each of its attempts but the last, or at all.
TEST(Retry, OfEachTaskOfAGraphAtEachAttempt) {
  constexpr std::uint32_t kTasks = 20;
  constexpr std::uint32_t kAttempts = 3;
  const auto executor = make_executor(3);
  std::atomic<std::uint32_t> failing = 0;
  std::atomic<std::uint32_t> failure_count = 0;
  std::vector<std::atomic<std::uint32_t>> ends(kTasks);
  const auto before = [](std::uint32_t task) {
    return task < 2 ? std::vector<std::uint32_t>{} : std::vector<std::uint32_t>{task / 2, task - 2};
  };
  Graph graph;
  for (std::uint32_t task = 0; task < kTasks; ++task) {
    graph.add({.retry = {.attempt_count_max = kAttempts}},
              [&, task](TaskContext& context) -> Status {
                if (task == failing && context.attempt() <= failure_count) {
                  return Status(ErrorCode::kAborted, "in turn");
                }
                ++ends[task];
                return {};
              });
    for (const std::uint32_t other : before(task)) {
      graph.add_edge({other}, {task});
    }
  }
  const CompiledGraph compiled = compile(std::move(graph));
  for (failing = 0; failing < kTasks; ++failing) {
    for (failure_count = 0; failure_count <= kAttempts; ++failure_count) {
      for (std::atomic<std::uint32_t>& end : ends) {
        end = 0;
      }
      const auto run = compiled.run(*executor).value();
      const Status status = run.wait();
      const bool is_final = failure_count == kAttempts;
      ASSERT_EQ(status.code(), is_final ? ErrorCode::kAborted : ErrorCode::kOk);
      ASSERT_EQ(run.errors().size(), is_final ? 1u : 0u);
      // The reference: what the failed task does not reach ended once, the rest not at all.
      std::vector<bool> reached(kTasks);
      for (std::uint32_t task = 0; task < kTasks; ++task) {
        reached[task] = is_final && task == failing;
        for (const std::uint32_t other : before(task)) {
          reached[task] = reached[task] || reached[other];
        }
        ASSERT_EQ(ends[task], reached[task] ? 0u : 1u) << task;
        ASSERT_EQ(run.state({task}), !reached[task]    ? TaskState::kDone
                                     : task == failing ? TaskState::kFailed
                                                       : TaskState::kSkipped);
        ASSERT_EQ(run.cause({task}), TaskId{reached[task] ? failing.load() : task});
      }
    }
  }
}

TEST(Compensation, UndoesWhatHadEndedInReverseOrder) {
  const auto executor = make_executor(2);
  std::vector<std::string> order;
  bool fails = true;
  const auto undo = [&order](const char* name) {
    return [&order, name](const CompensationContext&) {
      order.push_back(name);
      return Status();
    };
  };
  Graph graph;
  const TaskId reserve = graph.add({.name = "reserve", .compensation = undo("reserve")}, [] {});
  const TaskId pay = graph.add({.name = "pay", .compensation = undo("pay")}, [] {});
  const TaskId ship = graph.add({.name = "ship", .compensation = undo("ship")}, [&]() -> Status {
    return fails ? Status(ErrorCode::kFailedPrecondition, "no parcel") : Status();
  });
  graph.add_edge(reserve, pay);
  graph.add_edge(pay, ship);
  const CompiledGraph compiled = compile(std::move(graph));
  {
    const auto run = compiled.run(*executor, {.seed = 3}).value();
    EXPECT_EQ(run.wait().message(), "1 task failed: 'ship': no parcel");
    EXPECT_THAT(order, ElementsAre("pay", "reserve"));
    ASSERT_EQ(run.compensations().size(), 2u);
    EXPECT_EQ(run.compensations()[0].task, pay);
    EXPECT_EQ(run.compensations()[0].call_count, 1u);
    EXPECT_TRUE(run.compensations()[0].status.ok());
    EXPECT_NE(run.compensations()[0].attempt_id, run.compensations()[1].attempt_id);
  }
  fails = false;
  const auto run = compiled.run(*executor).value();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_TRUE(run.compensations().empty());
  EXPECT_EQ(order.size(), 2u);
}

TEST(Compensation, RunsAnInterruptedOneAgainWithTheSameId) {
  const auto executor = make_executor(1);
  FakeTimer timer;
  std::vector<std::uint64_t> ids;
  Graph graph;
  const TaskId done = graph.add(
      {.name = "done",
       .retry = {.attempt_count_max = 4, .backoff = milliseconds(10)},
       .compensation = [&](const CompensationContext& context) -> Status {
         ids.push_back(context.attempt_id);
         if (ids.size() == 1) {
           throw std::runtime_error("interrupted");
         }
         return ids.size() == 2 ? Status(ErrorCode::kUnavailable, "interrupted") : Status();
       }},
      [] {});
  const TaskId fails = graph.add([] { return Status(ErrorCode::kDataLoss, "torn"); });
  graph.add_edge(done, fails);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor, {.timer = &timer}).value();
  timer.run_next();
  timer.run_next();
  EXPECT_EQ(run.wait().code(), ErrorCode::kDataLoss);
  ASSERT_EQ(ids.size(), 3u);
  EXPECT_EQ(ids[0], ids[1]);
  EXPECT_EQ(ids[1], ids[2]);
  ASSERT_EQ(run.compensations().size(), 1u);
  EXPECT_EQ(run.compensations()[0].call_count, 3u);
  EXPECT_TRUE(run.compensations()[0].status.ok());
}

TEST(Compensation, SaysWhichOneFailedAndGoesOn) {
  const auto executor = make_executor(1);
  Graph graph;
  bool first_undone = false;
  const TaskId first = graph.add({.compensation =
                                      [&](const CompensationContext&) {
                                        first_undone = true;
                                        return Status();
                                      }},
                                 [] {});
  const TaskId second = graph.add(
      {.compensation =
           [](const CompensationContext&) { return Status(ErrorCode::kDataLoss, "cannot undo"); }},
      [](TaskContext& context) { context.cancel_run(); });
  const TaskId third = graph.add([] {});
  graph.add_edge(first, second);
  graph.add_edge(second, third);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  EXPECT_EQ(run.wait().code(), ErrorCode::kCancelled);
  EXPECT_TRUE(first_undone);
  ASSERT_EQ(run.compensations().size(), 2u);
  EXPECT_EQ(run.compensations()[0].status.message(), "cannot undo");
}

}  // namespace
}  // namespace pinion
