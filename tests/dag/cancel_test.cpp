#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <pinion/dag/graph.hpp>

#include "run_trial.hpp"

namespace pinion {
namespace {

TEST(CancelledRun, SaysOfEveryTaskWhetherItBegan) {
  for (const std::size_t workers : {1u, 3u}) {
    const auto executor = make_executor(workers);
    std::atomic<bool> cancels = true;
    std::atomic<int> run_count = 0;
    const auto body = [&run_count] { ++run_count; };
    Graph graph;
    const TaskId first = graph.add(body);
    const TaskId second = graph.add([&](TaskContext& context) {
      ++run_count;
      if (cancels) {
        context.cancel_run();
      }
    });
    const TaskId chained = graph.add(body);
    const std::array fan = {graph.add(body), graph.add(body), graph.add(body)};
    const TaskId last = graph.add(body);
    graph.add_edge(first, second);
    graph.add_edge(second, chained);
    graph.add_edges(chained, fan);
    graph.add_edges(fan, last);
    const CompiledGraph compiled = compile(std::move(graph));
    for (int round = 0; round < 20; ++round) {
      run_count = 0;
      cancels = true;
      {
        const auto run = compiled.run(*executor).value();
        EXPECT_EQ(run.wait().message(), "the run was cancelled; 5 tasks did not begin");
        EXPECT_EQ(run_count, 2);
        EXPECT_EQ(run.progress().ended_count, 7u);
        EXPECT_EQ(run.state(last), TaskState::kCancelled);
        EXPECT_EQ(run.cause(last), last);
        EXPECT_EQ(run.state(first), TaskState::kDone);
        EXPECT_EQ(run.state(second), TaskState::kDone);
        EXPECT_EQ(run.state(chained), TaskState::kCancelled);
        EXPECT_EQ(run.state(fan[1]), TaskState::kCancelled);
      }
      cancels = false;
      const auto run = compiled.run(*executor).value();
      EXPECT_TRUE(run.wait().ok());
      EXPECT_EQ(run_count, 9);
      EXPECT_EQ(run.state(last), TaskState::kDone);
    }
  }
}

TEST(CancelledRun, KnowsWhichTasksFollowAFailure) {
  const auto executor = make_executor(1);
  Graph graph;
  const TaskId before = graph.add([] {});
  const TaskId fails = graph.add([] { return Status(ErrorCode::kDataLoss, "torn"); });
  const TaskId joint = graph.add([] {});
  const TaskId below = graph.add([] {});
  const TaskId other = graph.add([] {});
  graph.add_edge(before, fails);
  graph.add_edge(before, other);
  graph.add_edge(fails, joint);
  graph.add_edge(other, joint);
  graph.add_edge(fails, below);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor, {.on_failure = OnFailure::kStop}).value();
  EXPECT_EQ(run.wait().code(), ErrorCode::kDataLoss);
  EXPECT_EQ(run.state(fails), TaskState::kFailed);
  EXPECT_EQ(run.state(below), TaskState::kSkipped);
  EXPECT_EQ(run.cause(below), fails);
  EXPECT_EQ(run.state(joint), TaskState::kSkipped);
  EXPECT_EQ(run.cause(joint), fails);
  EXPECT_NE(run.state(other), TaskState::kSkipped);
}

// One worker is in a body, with tasks of the run in its lists; the others are busy elsewhere.
TEST(CancelledRun, EndsWithItsLastBodyAndNotWithTheQueue) {
  constexpr std::size_t kWorkers = 3;
  const auto executor = make_executor(kWorkers);
  std::latch begun(1);
  std::latch others(kWorkers - 1);
  std::latch cancelled(1);
  std::latch looked(1);
  for (std::size_t i = 1; i < kWorkers; ++i) {
    ASSERT_TRUE(executor
                    ->submit({},
                             [&] {
                               others.count_down();
                               looked.wait();
                             })
                    .ok());
  }
  others.wait();
  std::atomic<int> run_count = 0;
  Graph graph;
  const TaskId first = graph.add([&] {
    begun.count_down();
    cancelled.wait();
  });
  std::vector<TaskId> rest;
  for (int i = 0; i < 1000; ++i) {
    rest.push_back(graph.add([&] { ++run_count; }));
    graph.add_edge(first, rest.back());
    graph.add([&] { ++run_count; });
  }
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  begun.wait();
  run.cancel();
  EXPECT_FALSE(run.wait_for({}));
  cancelled.count_down();
  // The other workers come to the run only after this.
  EXPECT_EQ(run.wait().code(), ErrorCode::kCancelled);
  EXPECT_EQ(run.state(rest[7]), TaskState::kCancelled);
  looked.count_down();
}

TEST(CancelledRun, WaitsForWhatItsTasksWaitFor) {
  const auto executor = make_executor(2);
  for (int round = 0; round < 50; ++round) {
    std::vector<CompletionSource> sources(3);
    std::latch begun(3);
    Graph graph;
    std::vector<TaskId> held;
    std::vector<TaskId> after;
    for (CompletionSource& source : sources) {
      held.push_back(graph.add([&begun, completion = source.completion()] {
        begun.count_down();
        return completion;
      }));
      after.push_back(graph.add([] {}));
      graph.add_edge(held.back(), after.back());
    }
    const CompiledGraph compiled = compile(std::move(graph));
    const auto run = compiled.run(*executor).value();
    begun.wait();
    std::thread signaller([&] {
      sources[0].signal({});
      sources[1].signal(Status(ErrorCode::kDataLoss, "torn"));
    });
    run.cancel();
    EXPECT_FALSE(run.wait_for({}));
    signaller.join();
    sources[2].signal({});
    EXPECT_EQ(run.wait().code(), ErrorCode::kDataLoss);
    EXPECT_EQ(run.state(held[2]), TaskState::kDone);
    EXPECT_EQ(run.state(held[1]), TaskState::kFailed);
    EXPECT_EQ(run.state(after[2]), TaskState::kCancelled);
    EXPECT_EQ(run.progress().ended_count, 6u);
  }
}

// Another thread cancels while everything goes on: nothing runs after the end, and what ran is what
// is called done.
TEST(CancelledRun, IsTheSameWhateverTheMoment) {
  constexpr std::uint32_t kTasks = 3000;
  for (const std::size_t workers : {1u, 2u, 4u}) {
    const auto executor = make_executor(workers);
    std::vector<std::atomic<int>> runs(kTasks);
    std::atomic<bool> has_ended = false;
    std::atomic<bool> ran_late = false;
    std::atomic<std::uint32_t> begun = 0;
    Graph graph;
    for (std::uint32_t task = 0; task < kTasks; ++task) {
      graph.add([&, task] {
        ran_late = ran_late || has_ended;
        ++runs[task];
        begun.fetch_add(1);
      });
      for (const std::uint32_t distance : {1u, 40u, 41u}) {
        if (task >= 100 && task % 7 != 0) {
          graph.add_edge({task - distance}, {task});
        }
      }
    }
    const CompiledGraph compiled = compile(std::move(graph));
    for (std::uint32_t round = 0; round < 100; ++round) {
      for (std::atomic<int>& count : runs) {
        count = 0;
      }
      begun = 0;
      has_ended = false;
      const auto run = compiled.run(*executor, {.record_states = round % 2 == 0}).value();
      while (begun < round * kTasks / 100) {
      }
      run.cancel();
      const Status status = run.wait();
      has_ended = true;
      std::uint32_t cancelled_count = 0;
      for (std::uint32_t task = 0; task < kTasks; ++task) {
        const TaskState state = run.state({task});
        cancelled_count += state == TaskState::kCancelled ? 1 : 0;
        ASSERT_EQ(runs[task], state == TaskState::kDone ? 1 : 0) << "task " << task;
        ASSERT_TRUE(state == TaskState::kDone || state == TaskState::kCancelled);
      }
      EXPECT_EQ(cancelled_count + begun, kTasks);
      EXPECT_EQ(status.ok(), cancelled_count == 0);
      EXPECT_EQ(run.progress().ended_count, kTasks);
    }
    EXPECT_FALSE(ran_late);
  }
}

}  // namespace
}  // namespace pinion
