// What is special to runs that do not count. That they do what others do, the other tests show when
// they are run with PINION_DAG_WAY.

#include <atomic>
#include <chrono>
#include <latch>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pinion/core/clock.hpp>
#include <pinion/dag/graph.hpp>

#include "run_trial.hpp"

namespace pinion {
namespace {

using testing::ElementsAre;

CompiledGraph compile_for(RunWay way, Graph graph) {
  CompiledGraph compiled = std::move(graph).compile().value();
  WaysForTests::force(compiled, way);
  return compiled;
}

TEST(Sweep, RunsDepthFirst) {
  const auto executor = make_executor(3);
  std::vector<int> order;
  Graph graph;
  const auto add = [&](int number) {
    return graph.add([&order, number] { order.push_back(number); });
  };
  const TaskId root = add(0);
  const TaskId left = add(1);
  const TaskId right = add(2);
  const TaskId below_left = add(3);
  const TaskId below_right = add(4);
  graph.add_edge(root, right);
  graph.add_edge(root, left);
  graph.add_edge(left, below_left);
  graph.add_edge(right, below_right);
  const CompiledGraph compiled = compile_for(RunWay::kSweep, std::move(graph));
  ASSERT_TRUE(compiled.run(*executor)->wait().ok());
  EXPECT_THAT(order, ElementsAre(0, 1, 3, 2, 4));
}

TEST(Waves, GoLevelByLevel) {
  const auto executor = make_executor(1);
  std::vector<int> order;
  Graph graph;
  const auto add = [&](int number) {
    return graph.add([&order, number] { order.push_back(number); });
  };
  const TaskId root = add(0);
  const TaskId left = add(1);
  const TaskId chained = add(2);
  const TaskId right = add(3);
  const TaskId last = add(4);
  graph.add_edge(root, right);
  graph.add_edge(root, left);
  graph.add_edge(left, chained);
  graph.add_edge(chained, last);
  graph.add_edge(right, last);
  const CompiledGraph compiled = compile_for(RunWay::kWaves, std::move(graph));
  ASSERT_TRUE(compiled.run(*executor)->wait().ok());
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
}

constexpr RunWay kAllWays[] = {RunWay::kCounting, RunWay::kWaves, RunWay::kSweep};

// Two layers of some tasks, of which the first one does what it is given.
template <class Body>
Graph make_layers(Body first) {
  constexpr std::uint32_t kWidth = 40;
  Graph graph;
  graph.add(std::move(first));
  for (std::uint32_t task = 1; task < 2 * kWidth; ++task) {
    graph.add([] {});
    if (task >= kWidth) {
      graph.add_edge({task - kWidth}, {task});
      graph.add_edge({(task + 1) % kWidth}, {task});
    }
  }
  return graph;
}

TEST(Ways, CanBeSeen) {
  const auto executor = make_executor(2);
  for (const RunWay way : kAllWays) {
    std::latch begun(1);
    std::latch seen(1);
    const CompiledGraph compiled = compile_for(way, make_layers([&] {
                                                 begun.count_down();
                                                 seen.wait();
                                               }));
    const auto run = compiled.run(*executor).value();
    begun.wait();
    EXPECT_EQ(run.progress().way, way);
    seen.count_down();
    EXPECT_TRUE(run.wait().ok());
    EXPECT_EQ(run.progress().way, way);
  }
}

TEST(Ways, AreASweepOnOneWorkerAndAtFirstCountingOnSeveral) {
  const CompiledGraph compiled = make_layers([] {}).compile().value();
  for (const std::size_t workers : {1u, 2u}) {
    const auto executor = make_executor(workers);
    const auto run = compiled.run(*executor).value();
    EXPECT_TRUE(run.wait().ok());
    EXPECT_EQ(run.progress().way, workers == 1 ? RunWay::kSweep : RunWay::kCounting);
  }
}

TEST(Ways, AreCountingWherePrioritiesDecide) {
  const auto executor = make_executor(2);
  Graph graph = make_layers([] {});
  graph.add({.priority = TaskPriority::kHigh}, [] {});
  const auto run = compile_for(RunWay::kWaves, std::move(graph)).run(*executor).value();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_EQ(run.progress().way, RunWay::kCounting);
}

TEST(Ways, AreCountingFromAFailureOn) {
  const auto executor = make_executor(2);
  for (const RunWay way : kAllWays) {
    const CompiledGraph compiled =
        compile_for(way, make_layers([] { return Status(ErrorCode::kDataLoss, "torn"); }));
    const auto run = compiled.run(*executor).value();
    EXPECT_EQ(run.wait().message(), "1 task failed: 'task 0': torn; 2 tasks did not begin");
    EXPECT_EQ(run.progress().way, RunWay::kCounting);
  }
}

// Nothing counts for a run that was cancelled, also not for who asks what became of its tasks.
TEST(Ways, AreKeptByACancelledRun) {
  const auto executor = make_executor(2);
  for (const RunWay way : kAllWays) {
    const CompiledGraph compiled =
        compile_for(way, make_layers([](TaskContext& context) { context.cancel_run(); }));
    for (int round = 0; round < 2; ++round) {
      const auto run = compiled.run(*executor).value();
      EXPECT_EQ(run.wait().code(), ErrorCode::kCancelled);
      EXPECT_EQ(run.state({0}), TaskState::kDone);
      EXPECT_EQ(run.state({79}), TaskState::kCancelled);
      EXPECT_EQ(run.progress().way, way);
    }
  }
}

// What the other suites rely on when they are run for each way.
TEST(Ways, AreThoseThatTheEnvironmentNames) {
  const auto executor = make_executor(2);
  const auto run = compile(make_layers([] {})).run(*executor).value();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_EQ(run.progress().way, way_of_environment().value_or(RunWay::kCounting));
}

// Bodies that meet need two workers at once, which only a run that counts gives for sure.
TEST(Ways, CountWhenARunTakesMuchLongerThanThoseBefore) {
  for (const RunWay way : {RunWay::kSweep, RunWay::kWaves}) {
    const auto executor = make_executor(2);
    const SystemClock clock{};
    std::latch both(2);
    Graph graph;
    TaskId last = graph.add([&clock] {
      const Instant until = clock.now() + std::chrono::milliseconds(1);
      while (clock.now() < until) {
      }
    });
    for (int i = 0; i < 1000; ++i) {
      const TaskId next = graph.add([] {});
      graph.add_edge(last, next);
      last = next;
    }
    for (int i = 0; i < 2; ++i) {
      graph.add_edge(last, graph.add([&both] { both.arrive_and_wait(); }));
    }
    const CompiledGraph compiled = compile_for(way, std::move(graph));
    WaysForTests::note(compiled, 2, /*nanoseconds_a_task=*/0.001);
    const auto run = compiled.run(*executor).value();
    EXPECT_TRUE(run.wait().ok());
    EXPECT_EQ(run.progress().way, RunWay::kCounting);
  }
}

// A graph that is wide enough goes all its ways, again and again, whichever it finds the fastest.
TEST(Ways, AreTriedByAGraphThatRunsOften) {
  constexpr std::uint32_t kWidth = 50;
  OrderTrial::Edges edges;
  for (std::uint32_t task = kWidth; task < 20 * kWidth; ++task) {
    edges.emplace_back(task - kWidth, task);
    edges.emplace_back((task / kWidth - 1) * kWidth + task * 7 % kWidth, task);
  }
  OrderTrial trial(20 * kWidth, edges);
  for (const std::size_t workers : {2u, 4u}) {
    const auto executor = make_executor(workers);
    for (int round = 0; round < 300; ++round) {
      ASSERT_EQ(trial.run_once(*executor), "");
    }
  }
}

}  // namespace
}  // namespace pinion
