// Random graphs against the list of their edges, and many runs of the shapes that are hard.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "run_trial.hpp"

namespace pinion {
namespace {

// Edges go from lower to higher numbers of a random renumbering, so there is no cycle.
OrderTrial::Edges random_edges(std::uint32_t task_count, std::size_t edge_count) {
  std::vector<std::uint32_t> number(task_count);
  for (std::uint32_t i = 0; i < task_count; ++i) {
    number[i] = i;
    std::swap(number[i], number[*rc::gen::inRange<std::uint32_t>(0, i + 1)]);
  }
  OrderTrial::Edges edges;
  for (std::size_t i = 0; task_count > 1 && i < edge_count; ++i) {
    const auto after = *rc::gen::inRange<std::uint32_t>(1, task_count);
    const auto before = *rc::gen::inRange<std::uint32_t>(0, after);
    edges.emplace_back(number[before], number[after]);
  }
  return edges;
}

RC_GTEST_PROP(RandomGraph, RunsEveryTaskOnceAndAfterItsPredecessors, ()) {
  static const std::vector<std::unique_ptr<Executor>> executors = [] {
    std::vector<std::unique_ptr<Executor>> made;
    for (const std::size_t workers : {1u, 2u, 5u}) {
      made.push_back(make_executor(workers));
    }
    return made;
  }();
  const auto task_count = *rc::gen::inRange<std::uint32_t>(0, 200);
  const auto edges_per_task = *rc::gen::inRange<std::size_t>(0, 6);
  OrderTrial trial(task_count, random_edges(task_count, edges_per_task * task_count));
  for (const std::unique_ptr<Executor>& executor : executors) {
    for (int round = 0; round < 3; ++round) {
      const std::string words = trial.run_once(*executor);
      RC_ASSERT(words == "");
    }
  }
}

// A random task cancels the run, or fails and stops it: every task ran once and is called done, or
// did not run and is called cancelled or skipped; and the next run is as if nothing had been.
RC_GTEST_PROP(RandomGraph, KnowsWhatACancellationKeptFromBeginning, ()) {
  static const std::unique_ptr<Executor> executor = make_executor(3);
  const auto task_count = *rc::gen::inRange<std::uint32_t>(1, 200);
  const auto edges_per_task = *rc::gen::inRange<std::size_t>(0, 6);
  const auto stopping = *rc::gen::inRange<std::uint32_t>(0, task_count);
  const bool fails = *rc::gen::arbitrary<bool>();
  std::vector<std::atomic<int>> runs(task_count);
  std::atomic<bool> stops = true;
  Graph graph;
  for (std::uint32_t task = 0; task < task_count; ++task) {
    graph.add([&, task](TaskContext& context) {
      ++runs[task];
      if (task != stopping || !stops) {
        return Status();
      }
      if (fails) {
        return Status(ErrorCode::kDataLoss, "torn");
      }
      context.cancel_run();
      return Status();
    });
  }
  for (const auto& [before, after] : random_edges(task_count, edges_per_task * task_count)) {
    graph.add_edge({before}, {after});
  }
  const CompiledGraph compiled = std::move(graph).compile().value();
  {
    const auto run = compiled.run(*executor, {.on_failure = OnFailure::kStop}).value();
    const Status status = run.wait();
    bool all_ran = true;
    for (std::uint32_t task = 0; task < task_count; ++task) {
      const bool ran = runs[task] == 1;
      const TaskState state = run.state({task});
      all_ran = all_ran && ran;
      RC_ASSERT(ran || runs[task] == 0);
      RC_ASSERT(ran ==
                (state == TaskState::kDone || (state == TaskState::kFailed && task == stopping)));
      RC_ASSERT(ran || state == TaskState::kCancelled || (state == TaskState::kSkipped && fails));
      RC_ASSERT(state != TaskState::kSkipped || run.cause({task}) == TaskId{stopping});
    }
    RC_ASSERT(status.ok() == (all_ran && !fails));
    RC_ASSERT(run.progress().ended_count == task_count);
  }
  stops = false;
  RC_ASSERT(compiled.run(*executor)->wait().ok());
  for (std::uint32_t task = 0; task < task_count; ++task) {
    const int before = runs[task];
    RC_ASSERT(before == 1 || before == 2);
  }
}

// PINION_DAG_RUNS: how many runs of tasks in all.
std::uint64_t run_count_wanted() {
  const char* const text = std::getenv("PINION_DAG_RUNS");
  return text == nullptr ? 3'000'000 : std::strtoull(text, nullptr, 10);
}

void run_often(const std::string& name, std::uint32_t task_count, const OrderTrial::Edges& edges) {
  OrderTrial trial(task_count, edges);
  const std::uint64_t rounds = run_count_wanted() / 4 / task_count + 1;
  for (const std::size_t workers : {2u, 3u}) {
    const auto executor = make_executor(workers);
    for (std::uint64_t round = 0; round < rounds / 2 + 1; ++round) {
      ASSERT_EQ(trial.run_once(*executor), "") << name << " on " << workers << " workers";
    }
  }
}

TEST(ManyRuns, OfAChain) {
  OrderTrial::Edges edges;
  for (std::uint32_t task = 1; task < 1000; ++task) {
    edges.emplace_back(task - 1, task);
  }
  run_often("a chain", 1000, edges);
}

TEST(ManyRuns, OfAWavefront) {
  constexpr std::uint32_t kSide = 40;
  OrderTrial::Edges edges;
  for (std::uint32_t task = 0; task < kSide * kSide; ++task) {
    if (task % kSide + 1 < kSide) {
      edges.emplace_back(task, task + 1);
    }
    if (task + kSide < kSide * kSide) {
      edges.emplace_back(task, task + kSide);
    }
  }
  run_often("a wavefront", kSide * kSide, edges);
}

TEST(ManyRuns, OfATree) {
  OrderTrial::Edges edges;
  for (std::uint32_t task = 1; task < 4095; ++task) {
    edges.emplace_back((task - 1) / 2, task);
  }
  run_often("a tree", 4095, edges);
}

TEST(ManyRuns, OfLayers) {
  constexpr std::uint32_t kWidth = 64;
  OrderTrial::Edges edges;
  std::uint32_t bits = 12345;
  for (std::uint32_t task = kWidth; task < 40 * kWidth; ++task) {
    for (int i = 0; i < 3; ++i) {
      bits = bits * 1664525u + 1013904223u;
      edges.emplace_back((task / kWidth - 1) * kWidth + (bits >> 16) % kWidth, task);
    }
  }
  run_often("layers", 40 * kWidth, edges);
}

}  // namespace
}  // namespace pinion
