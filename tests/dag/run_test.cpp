#include <pinion/dag/run.hpp>

#include <atomic>
#include <barrier>
#include <chrono>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pinion/dag/graph.hpp>

#include "run_trial.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;

TEST(Run, OfNoTaskHasEnded) {
  const auto executor = make_executor(2);
  const auto run = compile(Graph()).run(*executor).value();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_TRUE(run.wait_for({}));
  EXPECT_EQ(run.progress().task_count, 0u);
}

TEST(Run, OfOneTaskRunsItOnAWorker) {
  const auto executor = make_executor(2);
  std::size_t worker = 7;
  Graph graph;
  const TaskId task = graph.add([&] { worker = executor->current_worker(); });
  const auto run = compile(std::move(graph)).run(*executor).value();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_LT(worker, 2u);
  EXPECT_EQ(run.state(task), TaskState::kDone);
  EXPECT_EQ(run.progress().ended_count, 1u);
}

TEST(Run, RunsTheManyChildrenOfOneTask) {
  constexpr std::uint32_t kCount = 1u << 17;
  for (const std::size_t workers : {1u, 3u}) {
    OrderTrial::Edges edges;
    for (std::uint32_t child = 1; child < kCount; ++child) {
      edges.emplace_back(0, child);
    }
    for (std::uint32_t child = 1; child < kCount; ++child) {
      edges.emplace_back(child, kCount);
    }
    OrderTrial trial(kCount + 1, edges);
    const auto executor = make_executor(workers);
    EXPECT_EQ(trial.run_once(*executor), "");
    EXPECT_EQ(trial.run_once(*executor), "");
  }
}

TEST(Run, NamesEveryTaskThatFailed) {
  const auto executor = make_executor(1);
  Graph graph;
  const TaskId parse =
      graph.add({.name = "parse"}, []() -> Status { throw std::runtime_error("bad digit"); });
  const TaskId check =
      graph.add({.name = "check"}, [] { return Status(ErrorCode::kDataLoss, "wrong sum"); });
  const TaskId throws = graph.add([] { throw 7; });
  const TaskId good = graph.add([] {});
  const auto run = compile(std::move(graph)).run(*executor).value();
  const Status status = run.wait();
  EXPECT_EQ(status.to_string(),
            "UNKNOWN: 3 tasks failed: 'parse': bad digit; 'check': wrong sum; 'task 2': an "
            "exception that is not a std::exception");
  ASSERT_EQ(run.errors().size(), 3u);
  EXPECT_EQ(run.errors()[1].task, "check");
  EXPECT_EQ(run.errors()[1].status.code(), ErrorCode::kDataLoss);
  EXPECT_THROW(std::rethrow_exception(run.errors()[2].exception), int);
  EXPECT_EQ(run.state(parse), TaskState::kFailed);
  EXPECT_EQ(run.state(check), TaskState::kFailed);
  EXPECT_EQ(run.state(throws), TaskState::kFailed);
  EXPECT_EQ(run.state(good), TaskState::kDone);
}

TEST(Run, SkipsTheDescendantsOfAFailureAndSaysWhy) {
  const auto executor = make_executor(2);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> run_count = 0;
    const auto body = [&run_count] { ++run_count; };
    Graph graph;
    const TaskId fails = graph.add([] { return Status(ErrorCode::kDataLoss, "torn"); });
    const TaskId other = graph.add(body);
    const TaskId joint = graph.add(body);
    const TaskId chained = graph.add(body);
    const TaskId independent = graph.add(body);
    graph.add_edge(fails, joint);
    graph.add_edge(other, joint);
    graph.add_edge(joint, chained);
    graph.add_edge(other, independent);
    const CompiledGraph compiled = compile(std::move(graph));
    const auto run = compiled.run(*executor).value();
    EXPECT_EQ(run.wait().message(), "1 task failed: 'task 0': torn; 2 tasks did not begin");
    EXPECT_EQ(run_count, 2);
    EXPECT_EQ(run.state(joint), TaskState::kSkipped);
    EXPECT_EQ(run.state(chained), TaskState::kSkipped);
    EXPECT_EQ(run.state(independent), TaskState::kDone);
    EXPECT_EQ(run.cause(chained), fails);
    EXPECT_EQ(run.cause(independent), independent);
    EXPECT_EQ(run.progress().ended_count, 5u);
  }
}

TEST(Run, BeginsNothingAfterAFailureIfAskedTo) {
  const auto executor = make_executor(1);
  int run_count = 0;
  Graph graph;
  const TaskId fails = graph.add([] { return Status(ErrorCode::kDataLoss, "torn"); });
  std::vector<TaskId> rest;
  for (int i = 0; i < 10; ++i) {
    rest.push_back(graph.add([&] { ++run_count; }));
  }
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor, {.on_failure = OnFailure::kStop}).value();
  EXPECT_EQ(run.wait().message(), "1 task failed: 'task 0': torn; 10 tasks did not begin");
  EXPECT_EQ(run.state(fails), TaskState::kFailed);
  EXPECT_EQ(run.state(rest[9]), TaskState::kCancelled);
  EXPECT_EQ(run_count, 0);
  // The failure leaves nothing in what the next run takes over.
  EXPECT_EQ(compiled.run(*executor).value().wait().message(), "1 task failed: 'task 0': torn");
  EXPECT_EQ(run_count, 10);
}

TEST(Run, IsCancelledFromOutside) {
  const auto executor = make_executor(2);
  std::latch begun(1);
  Graph graph;
  std::atomic<bool> saw_cancel = false;
  std::atomic<bool> saw_token = false;
  const TaskId first = graph.add([&](TaskContext& context) {
    const CancelToken token = context.cancel_token();
    begun.count_down();
    while (!context.cancelled() || !token.cancelled()) {
    }
    saw_cancel = true;
    saw_token = token.cancelled();
  });
  const TaskId second = graph.add([] {});
  graph.add_edge(first, second);
  const auto run = compile(std::move(graph)).run(*executor).value();
  begun.wait();
  EXPECT_FALSE(run.wait_for({}));
  EXPECT_EQ(run.state(first), TaskState::kOpen);
  run.cancel();
  EXPECT_EQ(run.wait().to_string(), "CANCELLED: the run was cancelled; 1 task did not begin");
  EXPECT_TRUE(saw_cancel);
  EXPECT_TRUE(saw_token);
  EXPECT_EQ(run.state(first), TaskState::kDone);
  EXPECT_EQ(run.state(second), TaskState::kCancelled);
}

TEST(Run, IsCancelledByItsOwnBody) {
  const auto executor = make_executor(1);
  Graph graph;
  const TaskId first = graph.add([](TaskContext& context) { context.cancel_run(); });
  const TaskId second = graph.add([] {});
  graph.add_edge(first, second);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  EXPECT_EQ(run.wait().code(), ErrorCode::kCancelled);
  EXPECT_EQ(run.state(first), TaskState::kDone);
}

TEST(Run, CancelsATaskWithItsDescendants) {
  const auto executor = make_executor(1);
  std::latch started(1);
  std::latch cancelled(1);
  Graph graph;
  const TaskId root = graph.add([&] {
    started.count_down();
    cancelled.wait();
  });
  const TaskId left = graph.add([] {});
  const TaskId below = graph.add([] {});
  const TaskId right = graph.add([] {});
  graph.add_edge(root, left);
  graph.add_edge(left, below);
  graph.add_edge(root, right);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  started.wait();
  run.cancel(left);
  cancelled.count_down();
  EXPECT_EQ(run.wait().code(), ErrorCode::kCancelled);
  EXPECT_EQ(run.state(root), TaskState::kDone);
  EXPECT_EQ(run.state(left), TaskState::kCancelled);
  EXPECT_EQ(run.state(below), TaskState::kSkipped);
  EXPECT_EQ(run.cause(below), left);
  EXPECT_EQ(run.state(right), TaskState::kDone);
}

TEST(Run, RefusesToWaitInsideATask) {
  const auto executor = make_executor(1);
  Graph inner_graph;
  inner_graph.add([] {});
  const CompiledGraph inner = compile(std::move(inner_graph));
  std::optional<pinion::Run> inner_run;
  Status waited;
  bool ended = true;
  Graph graph;
  graph.add([&] {
    inner_run = inner.run(*executor).value();
    waited = inner_run->wait();
    ended = inner_run->wait_for(std::chrono::hours(1));
  });
  const CompiledGraph compiled = compile(std::move(graph));
  EXPECT_TRUE(compiled.run(*executor).value().wait().ok());
  EXPECT_EQ(waited.code(), ErrorCode::kFailedPrecondition);
  EXPECT_FALSE(ended);
  EXPECT_TRUE(inner_run->wait().ok());
}

TEST(Run, GoesOnWhenItsBodyDestroysTheGraph) {
  const auto executor = make_executor(1);
  std::optional<CompiledGraph> compiled;
  int run_count = 0;
  Graph graph;
  const TaskId first = graph.add([&] {
    compiled.reset();
    ++run_count;
  });
  const TaskId second = graph.add([&] { ++run_count; });
  graph.add_edge(first, second);
  compiled.emplace(compile(std::move(graph)));
  const auto run = compiled->run(*executor).value();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_FALSE(compiled.has_value());
  EXPECT_EQ(run_count, 2);
}

TEST(RunDeathTest, EndsTheProcessWhenItsBodyDestroysIt) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        const auto executor = make_executor(1);
        std::optional<pinion::Run> run;
        std::latch made(1);
        Graph graph;
        graph.add([&] {
          made.wait();
          run.reset();
        });
        const CompiledGraph compiled = compile(std::move(graph));
        run.emplace(compiled.run(*executor).value());
        const Completion ended = run->completion();
        made.count_down();
        ended.wait();
      },
      HasSubstr("on_worker"));
}

TEST(Run, SignalsItsCompletion) {
  const auto executor = make_executor(1);
  Graph graph;
  graph.add([] { return Status(ErrorCode::kDataLoss, "torn"); });
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  std::latch signalled(1);
  ErrorCode code = ErrorCode::kOk;
  run.completion().on_ready([&](const Status& status) {
    code = status.code();
    signalled.count_down();
  });
  signalled.wait();
  EXPECT_EQ(code, ErrorCode::kDataLoss);
}

TEST(Run, IsWaitedForUntilItsEndOrForATime) {
  const auto executor = make_executor(1);
  const SystemClock clock{};
  std::latch released(1);
  Graph graph;
  graph.add([&] { released.wait(); });
  const auto run = compile(std::move(graph)).run(*executor).value();
  const Instant begin = clock.now();
  EXPECT_FALSE(run.wait_for(std::chrono::milliseconds(2)));
  EXPECT_GE(clock.now() - begin, std::chrono::milliseconds(2));
  std::thread releaser([&] { released.count_down(); });
  EXPECT_TRUE(run.wait_for(std::chrono::hours(1)));
  EXPECT_TRUE(run.completion().ready());
  releaser.join();
}

TEST(Run, SaysHowFarItIs) {
  const auto executor = make_executor(1);
  CompletionSource source;
  Graph graph;
  const TaskId first = graph.add([] {});
  const TaskId waits = graph.add([completion = source.completion()] { return completion; });
  const TaskId last = graph.add([] {});
  graph.add_edge(first, waits);
  graph.add_edge(waits, last);
  const auto run = compile(std::move(graph)).run(*executor).value();
  EXPECT_EQ(run.progress().task_count, 3u);
  while (run.progress().ended_count == 0) {
  }
  EXPECT_EQ(run.progress().ended_count, 1u);
  source.signal({});
  EXPECT_TRUE(run.wait().ok());
  EXPECT_EQ(run.progress().ended_count, 3u);
}

// Two runs meet in the middle of the graph, so that both go on at once, again and again.
TEST(Run, HasCountersAndValuesOfItsOwn) {
  const auto executor = make_executor(2);
  std::barrier both(2);
  std::atomic<int> begun_count = 0;
  std::atomic<int> wrong_count = 0;
  Graph graph;
  const ValueTask<int> first = graph.add([&] { return ++begun_count; });
  const TaskId meets = graph.add([&] { both.arrive_and_wait(); });
  const ValueTask<int> last = graph.add([](const int& number) { return number; }, first);
  const TaskId ends = graph.add(
      [&](const int& one, const int& other) { wrong_count += one == other ? 0 : 1; }, first, last);
  graph.add_edge(first, meets);
  graph.add_edge(meets, last);
  graph.add_edge(meets, ends);
  const CompiledGraph compiled = compile(std::move(graph));
  for (int round = 0; round < 50; ++round) {
    begun_count = 0;
    const auto left = compiled.run(*executor).value();
    const auto right = compiled.run(*executor).value();
    EXPECT_TRUE(left.wait().ok());
    EXPECT_TRUE(right.wait().ok());
    EXPECT_EQ(left.value(first) + right.value(first), 3);
    EXPECT_EQ(left.value(last), left.value(first));
    EXPECT_EQ(right.value(last), right.value(first));
  }
  EXPECT_EQ(wrong_count, 0);
}

TEST(Run, SharesACompiledGraphWithOthersAtTheSameTime) {
  constexpr int kRuns = 8;
  constexpr int kTasks = 2000;
  const auto executor = make_executor(3);
  std::atomic<int> run_count = 0;
  Graph graph;
  TaskId before = graph.add([&] { ++run_count; });
  for (int i = 1; i < kTasks; ++i) {
    const TaskId task = graph.add([&] { ++run_count; });
    graph.add_edge(i % 3 == 0 ? before : TaskId{before.index / 2}, task);
    before = task;
  }
  const CompiledGraph compiled = compile(std::move(graph));
  for (int round = 1; round <= 20; ++round) {
    std::vector<pinion::Run> runs;
    for (int i = 0; i < kRuns; ++i) {
      runs.push_back(compiled.run(*executor).value());
    }
    for (const auto& run : runs) {
      EXPECT_TRUE(run.wait().ok());
    }
    ASSERT_EQ(run_count, round * kRuns * kTasks);
  }
}

// A chain that keeps the only worker busy for long lets another task in before it has ended.
TEST(Run, LetsOtherTasksOfTheExecutorHaveTheirTurn) {
  const auto executor = make_executor(1);
  const SystemClock clock{};
  std::atomic<bool> submitted = false;
  std::atomic<bool> other_ran = false;
  int count_before = 0;
  Graph graph;
  TaskId last = graph.add([&] { submitted.wait(false); });
  for (int i = 0; i < 20'000; ++i) {
    const TaskId next = graph.add([&] {
      const Instant until = clock.now() + std::chrono::microseconds(other_ran ? 0 : 1);
      count_before += other_ran ? 0 : 1;
      while (clock.now() < until) {
      }
    });
    graph.add_edge(last, next);
    last = next;
  }
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  EXPECT_TRUE(executor->submit({}, [&] { other_ran = true; }).ok());
  submitted = true;
  submitted.notify_all();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_LT(count_before, 20'000);
}

}  // namespace
}  // namespace pinion
