#include <atomic>
#include <chrono>
#include <future>
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

#include "fake_timer.hpp"
#include "run_trial.hpp"

namespace pinion {
namespace {

using std::chrono::milliseconds;

TEST(Held, EndsWithItsCompletionAndHoldsNoWorker) {
  const auto executor = make_executor(1);
  CompletionSource source;
  std::latch other_ran(1);
  bool after_ran = false;
  Graph graph;
  const TaskId waits = graph.add([completion = source.completion()] { return completion; });
  const TaskId after = graph.add([&] { after_ran = true; });
  graph.add_edge(waits, after);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  // The only worker is free meanwhile.
  ASSERT_TRUE(executor->submit({}, [&] { other_ran.count_down(); }).ok());
  other_ran.wait();
  EXPECT_FALSE(run.wait_for({}));
  std::thread signaller([&] { source.signal({}); });
  EXPECT_TRUE(run.wait().ok());
  signaller.join();
  EXPECT_TRUE(after_ran);
  EXPECT_EQ(run.state(waits), TaskState::kDone);
  EXPECT_EQ(run.progress().ended_count, 2u);
}

// Whoever sees the end may end the executor. The thread that has the last task go on is still in it
// here: its call finds the queue full, which only the worker could change that ends the run.
TEST(Held, HasNotEndedWhileTheThreadThatSignalsIsInTheExecutor) {
  const auto executor =
      Executor::create({.groups = {{.worker_count = 1}}, .queue_capacity = 2}).value();
  CompletionSource first;
  CompletionSource second;
  std::latch are_held(2);
  std::latch gate(1);
  std::latch at_gate(1);
  Graph graph;
  graph.add([&, completion = first.completion()] {
    are_held.count_down();
    return completion;
  });
  const TaskId before = graph.add([&, completion = second.completion()] {
    are_held.count_down();
    return completion;
  });
  const TaskId after = graph.add([&] {
    at_gate.count_down();
    gate.wait();
  });
  graph.add_edge(before, after);
  const CompiledGraph compiled = compile(std::move(graph));
  std::promise<std::thread::id> ended_by;
  const auto run = compiled.run(*executor).value();
  are_held.wait();
  second.signal({});
  at_gate.wait();
  while (executor->try_submit({}, [] {}).ok()) {
  }
  run.completion().on_ready([&](const Status&) { ended_by.set_value(std::this_thread::get_id()); });
  const std::uint64_t full_count = executor->events().full_count;
  std::atomic<bool> is_out = false;
  std::thread signaller([&] {
    first.signal({});
    is_out = true;
  });
  const std::thread::id signaller_id = signaller.get_id();
  while (!is_out && executor->events().full_count == full_count) {
    std::this_thread::yield();
  }
  const bool was_in = !is_out;  // A run that does not count calls nobody.
  gate.count_down();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_EQ(ended_by.get_future().get() == signaller_id, was_in);
  signaller.join();
}

TEST(Held, FailsWithItsCompletion) {
  const auto executor = make_executor(1);
  std::optional<CompletionSource> source(std::in_place);
  Graph graph;
  const TaskId waits =
      graph.add({.name = "pull"}, [completion = source->completion()] { return completion; });
  const TaskId after = graph.add([] {});
  graph.add_edge(waits, after);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  source.reset();  // Nobody will signal it.
  EXPECT_EQ(run.wait().code(), ErrorCode::kAborted);
  EXPECT_EQ(run.errors().front().task, "pull");
  EXPECT_EQ(run.state(after), TaskState::kSkipped);
}

TEST(Held, TakesCompletionsThatAreReadyAndManyAtOnce) {
  const auto executor = make_executor(3);
  for (int round = 0; round < 20; ++round) {
    constexpr int kCount = 100;
    std::vector<CompletionSource> sources(kCount);
    std::atomic<int> after_count = 0;
    Graph graph;
    for (int i = 0; i < kCount; ++i) {
      const TaskId waits = graph.add(
          [completion = sources[static_cast<std::size_t>(i)].completion()] { return completion; });
      const TaskId after = graph.add([&] { ++after_count; });
      graph.add_edge(waits, after);
    }
    const CompiledGraph compiled = compile(std::move(graph));
    sources[0].signal({});
    const auto run = compiled.run(*executor).value();
    std::thread signaller([&] {
      for (int i = kCount - 1; i > 0; --i) {
        sources[static_cast<std::size_t>(i)].signal({});
      }
    });
    EXPECT_TRUE(run.wait().ok());
    signaller.join();
    EXPECT_EQ(after_count, kCount);
  }
}

TEST(Held, IsNotWaitedForBeyondItsLimit) {
  const auto executor = make_executor(1);
  FakeTimer timer;
  std::vector<CompletionSource> sources(2);
  std::size_t attempt_count = 0;
  Graph graph;
  graph.add({.name = "copy", .retry = {.attempt_count_max = 2, .attempt_limit = milliseconds(5)}},
            [&] { return sources[attempt_count++].completion(); });
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor, {.timer = &timer}).value();
  EXPECT_EQ(timer.run_next(), milliseconds(5));
  EXPECT_EQ(timer.run_next(), milliseconds(5));
  EXPECT_EQ(run.wait().code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(attempt_count, 2u);
  sources[0].signal({});  // Too late, and ignored.
  sources[1].signal({});
}

TEST(Held, IsNotWaitedForBeyondTheLimitOfAllAttempts) {
  const auto executor = make_executor(1);
  FakeTimer timer;
  std::vector<CompletionSource> sources(2);
  std::size_t attempt_count = 0;
  Graph graph;
  graph.add({.name = "copy",
             .retry = {.attempt_count_max = 9,
                       .attempt_limit = milliseconds(5),
                       .total_limit = milliseconds(8)}},
            [&] { return sources[attempt_count++].completion(); });
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor, {.timer = &timer}).value();
  EXPECT_EQ(timer.run_next(), milliseconds(5));
  EXPECT_EQ(timer.run_next(), milliseconds(3));
  EXPECT_EQ(run.wait().to_string(),
            "DEADLINE_EXCEEDED: 1 task failed: 'copy': what the task waits for did not come in "
            "time; its attempt_limit is 5000000 ns, its total_limit 8000000 ns (0: none)");
  EXPECT_EQ(attempt_count, 2u);
}

TEST(Held, IsWaitedForWhenTheRunIsCancelled) {
  const auto executor = make_executor(1);
  CompletionSource source;
  std::latch begun(1);
  Graph graph;
  const TaskId waits = graph.add([&begun, completion = source.completion()] {
    begun.count_down();
    return completion;
  });
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  begun.wait();
  run.cancel();
  EXPECT_FALSE(run.wait_for({}));
  source.signal({});
  EXPECT_TRUE(run.wait().ok());
  EXPECT_EQ(run.state(waits), TaskState::kDone);
}

TEST(Appended, EndsBeforeTheTaskThatAppendedIt) {
  for (const std::size_t workers : {1u, 3u}) {
    const auto executor = make_executor(workers);
    std::atomic<int> part_count = 0;
    int seen_after = 0;
    Graph graph;
    const TaskId splits = graph.add([&](TaskContext& context) {
      Graph parts;
      for (int i = 0; i < 100; ++i) {
        parts.add([&] { ++part_count; });
      }
      return context.append(std::move(parts));
    });
    const TaskId after = graph.add([&] { seen_after = part_count; });
    graph.add_edge(splits, after);
    const CompiledGraph compiled = compile(std::move(graph));
    for (int round = 1; round <= 20; ++round) {
      const auto run = compiled.run(*executor).value();
      EXPECT_TRUE(run.wait().ok());
      EXPECT_EQ(seen_after, 100 * round);
      EXPECT_EQ(run.progress().task_count, 102u);
      EXPECT_EQ(run.progress().ended_count, 102u);
    }
  }
}

// A tree that grows while it runs, four levels deep.
void grow(TaskContext& context, std::atomic<int>& count, int level) {
  ++count;
  for (int i = 0; level > 0 && i < 2; ++i) {
    Graph parts;
    for (int part = 0; part < 2; ++part) {
      parts.add([&count, level](TaskContext& inner) { grow(inner, count, level - 1); });
    }
    EXPECT_TRUE(context.append(std::move(parts)).ok());
  }
}

TEST(Appended, MayAppendItself) {
  const auto executor = make_executor(2);
  std::atomic<int> count = 0;
  Graph graph;
  graph.add([&](TaskContext& context) { grow(context, count, 4); });
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_EQ(count, 1 + 4 + 16 + 64 + 256);
  EXPECT_EQ(run.progress().ended_count, 341u);
}

TEST(Appended, FailsTheTaskAndNamesItsOwn) {
  const auto executor = make_executor(1);
  std::vector<std::string> undone;
  const auto undo = [&undone](const char* name) {
    return [&undone, name](const CompensationContext&) {
      undone.push_back(name);
      return Status();
    };
  };
  Graph graph;
  const TaskId splits = graph.add({.name = "split"}, [&](TaskContext& context) {
    Graph parts;
    const TaskId good = parts.add({.name = "good part", .compensation = undo("part")}, [] {});
    const TaskId torn =
        parts.add({.name = "torn part"}, [] { return Status(ErrorCode::kDataLoss, "torn"); });
    parts.add_edge(good, torn);
    return context.append(std::move(parts));
  });
  const TaskId first = graph.add({.compensation = undo("first")}, [] {});
  const TaskId after = graph.add([] {});
  graph.add_edge(first, splits);
  graph.add_edge(splits, after);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  EXPECT_EQ(run.wait().code(), ErrorCode::kDataLoss);
  ASSERT_EQ(run.errors().size(), 2u);
  EXPECT_EQ(run.errors()[0].task, "torn part");
  EXPECT_EQ(run.errors()[1].task, "split");
  EXPECT_EQ(run.state(after), TaskState::kSkipped);
  EXPECT_THAT(undone, testing::ElementsAre("part", "first"));
}

TEST(Appended, IsCancelledWithTheRun) {
  const auto executor = make_executor(2);
  std::latch begun(1);
  std::atomic<int> count = 0;
  Graph graph;
  graph.add([&](TaskContext& context) {
    Graph parts;
    const TaskId first = parts.add([&](TaskContext& inner) {
      begun.count_down();
      while (!inner.cancelled()) {
      }
    });
    const TaskId second = parts.add([&] { ++count; });
    parts.add_edge(first, second);
    return context.append(std::move(parts));
  });
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  begun.wait();
  run.cancel();
  EXPECT_EQ(run.wait().code(), ErrorCode::kCancelled);
  EXPECT_EQ(count, 0);
}

TEST(Appended, EndsBeforeItsTaskFails) {
  for (const std::size_t workers : {1u, 3u}) {
    const auto executor = make_executor(workers);
    std::atomic<int> part_count = 0;
    Graph graph;
    const TaskId splits = graph.add({.name = "split"}, [&](TaskContext& context) {
      Graph parts;
      for (int i = 0; i < 100; ++i) {
        parts.add([&] { ++part_count; });
      }
      if (const Status status = context.append(std::move(parts)); status.ok()) {
        throw std::runtime_error("too late");
      }
    });
    const TaskId after = graph.add([] {});
    graph.add_edge(splits, after);
    const CompiledGraph compiled = compile(std::move(graph));
    const auto run = compiled.run(*executor).value();
    EXPECT_EQ(run.wait().message(), "1 task failed: 'split': too late; 1 task did not begin");
    EXPECT_EQ(part_count, 100);
    EXPECT_EQ(run.state(after), TaskState::kSkipped);
    EXPECT_EQ(run.progress().ended_count, 102u);
  }
}

TEST(Appended, CancelsTheWholeRunWhenOneOfItsTasksDoes) {
  const auto executor = make_executor(2);
  Graph graph;
  const TaskId splits = graph.add([](TaskContext& context) {
    Graph parts;
    parts.add([](TaskContext& inner) { inner.cancel_run(); });
    return context.append(std::move(parts));
  });
  const TaskId after = graph.add([] {});
  graph.add_edge(splits, after);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  EXPECT_EQ(run.wait().to_string(), "CANCELLED: the run was cancelled; 1 task did not begin");
  EXPECT_EQ(run.state(splits), TaskState::kDone);
  EXPECT_EQ(run.state(after), TaskState::kCancelled);
}

TEST(Appended, SaysWhatIsWrongWithTheGraph) {
  const auto executor = make_executor(1);
  Graph graph;
  graph.add([](TaskContext& context) {
    Graph parts;
    const TaskId task = parts.add([] {});
    parts.add_edge(task, task);
    return context.append(std::move(parts));
  });
  const CompiledGraph compiled = compile(std::move(graph));
  EXPECT_EQ(compiled.run(*executor)->wait().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace pinion
