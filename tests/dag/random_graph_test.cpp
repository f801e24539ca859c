// Random graphs against the list of their edges, and many runs of the shapes that are hard.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
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

// Of one worker and of several, at one place and at two.
const std::vector<std::unique_ptr<Executor>>& executors() {
  static const std::vector<std::unique_ptr<Executor>> all = [] {
    std::vector<std::unique_ptr<Executor>> made;
    for (const std::size_t workers : {1u, 2u, 5u}) {
      made.push_back(make_executor(workers));
    }
    made.push_back(make_executor_of_two_places(2));
    return made;
  }();
  return all;
}

// Which tasks follow one of those, not with these unless they do too.
std::vector<bool> descendants(const std::vector<bool>& of, const OrderTrial::Edges& edges) {
  std::vector<bool> reached(of.size());
  // Whatever the order of the edges: until nothing changes.
  for (bool changes = true; std::exchange(changes, false);) {
    for (const auto& [before, after] : edges) {
      if (!reached[after] && (reached[before] || of[before])) {
        reached[after] = changes = true;
      }
    }
  }
  return reached;
}

RC_GTEST_PROP(RandomGraph, RunsEveryTaskOnceAndAfterItsPredecessors, ()) {
  const auto task_count = *rc::gen::inRange<std::uint32_t>(0, 200);
  const auto edges_per_task = *rc::gen::inRange<std::size_t>(0, 6);
  OrderTrial trial(task_count, random_edges(task_count, edges_per_task * task_count));
  for (const std::unique_ptr<Executor>& executor : executors()) {
    for (int round = 0; round < 3; ++round) {
      const std::string words = trial.run_once(*executor);
      RC_ASSERT(words == "");
    }
  }
}

// A random task cancels the run, or fails and stops it: every task ran once and is called done, or
// did not run and is called cancelled or skipped; and the next run is as if nothing had been.
RC_GTEST_PROP(RandomGraph, KnowsWhatACancellationKeptFromBeginning, ()) {
  Executor& executor = *executors()[*rc::gen::inRange<std::size_t>(0, executors().size())];
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
  const CompiledGraph compiled = compile(std::move(graph));
  {
    const auto run = compiled.run(executor, {.on_failure = OnFailure::kStop}).value();
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
  RC_ASSERT(compiled.run(executor)->wait().ok());
  for (std::uint32_t task = 0; task < task_count; ++task) {
    const int before = runs[task];
    RC_ASSERT(before == 1 || before == 2);
  }
}

// Parts of a run are cancelled while its first task, which all others follow, goes on.
RC_GTEST_PROP(RandomGraph, SkipsWhatFollowsACancelledPart, ()) {
  const auto task_count = *rc::gen::inRange<std::uint32_t>(1, 100);
  const auto edges_per_task = *rc::gen::inRange<std::size_t>(0, 3);
  const auto rarity = *rc::gen::element(2, 10, 50);
  std::vector<bool> cancelled(task_count + std::size_t{1});
  for (std::uint32_t task = 0; task < task_count; ++task) {
    cancelled[task] = *rc::gen::inRange(0, rarity) == 0;
  }
  OrderTrial::Edges edges = random_edges(task_count, edges_per_task * task_count);
  const std::vector<bool> reached = descendants(cancelled, edges);
  std::vector<std::atomic<int>> runs(task_count);
  std::atomic<bool> goes_on = false;
  Graph graph;
  for (std::uint32_t task = 0; task < task_count; ++task) {
    graph.add([&runs, task] { ++runs[task]; });
    edges.emplace_back(task_count, task);
  }
  graph.add([&goes_on] { goes_on.wait(false); });
  for (const auto& [before, after] : edges) {
    graph.add_edge({before}, {after});
  }
  const CompiledGraph compiled = compile(std::move(graph));
  int run_count = 0;
  for (const std::unique_ptr<Executor>& executor : executors()) {
    goes_on = false;
    const auto run = compiled.run(*executor).value();
    for (std::uint32_t task = 0; task < task_count; ++task) {
      if (cancelled[task]) {
        run.cancel({task});
      }
    }
    goes_on = true;
    goes_on.notify_all();
    const Status status = run.wait();
    ++run_count;
    bool all_ran = true;
    for (std::uint32_t task = 0; task < task_count; ++task) {
      const bool runs_now = !reached[task] && !cancelled[task];
      all_ran = all_ran && runs_now;
      RC_ASSERT(runs[task] == (runs_now ? run_count : 0));
      RC_ASSERT(run.state({task}) == (reached[task]     ? TaskState::kSkipped
                                      : cancelled[task] ? TaskState::kCancelled
                                                        : TaskState::kDone));
      RC_ASSERT(!reached[task] || run.state(run.cause({task})) == TaskState::kCancelled);
    }
    RC_ASSERT(status.code() == (all_ran ? ErrorCode::kOk : ErrorCode::kCancelled));
    RC_ASSERT(run.progress().ended_count == task_count + 1u);
  }
}

// One task fails, whatever the moment. What had ended well is undone, each task once and before
// those that it follows.
RC_GTEST_PROP(RandomGraph, UndoesWhatEndedWellInReverseOrder, ()) {
  const auto task_count = *rc::gen::inRange<std::uint32_t>(1, 100);
  const auto edges_per_task = *rc::gen::inRange<std::size_t>(0, 4);
  const auto failing = *rc::gen::inRange<std::uint32_t>(0, task_count);
  const auto on_failure = *rc::gen::element(OnFailure::kGoOn, OnFailure::kStop);
  const OrderTrial::Edges edges = random_edges(task_count, edges_per_task * task_count);
  std::vector<std::uint32_t> undone;
  Graph graph;
  for (std::uint32_t task = 0; task < task_count; ++task) {
    graph.add({.compensation =
                   [&undone](const CompensationContext& context) {
                     undone.push_back(context.task.index);
                     return Status();
                   }},
              [task, failing] {
                return task == failing ? Status(ErrorCode::kDataLoss, "torn") : Status();
              });
  }
  for (const auto& [before, after] : edges) {
    graph.add_edge({before}, {after});
  }
  const CompiledGraph compiled = compile(std::move(graph));
  for (const std::unique_ptr<Executor>& executor : executors()) {
    undone.clear();
    const auto run = compiled.run(*executor, {.on_failure = on_failure}).value();
    RC_ASSERT(run.wait().code() == ErrorCode::kDataLoss);
    std::vector<std::size_t> turn(task_count, SIZE_MAX);
    RC_ASSERT(run.compensations().size() == undone.size());
    for (std::size_t i = 0; i < undone.size(); ++i) {
      RC_ASSERT(turn[undone[i]] == SIZE_MAX);
      turn[undone[i]] = i;
      RC_ASSERT(run.compensations()[i].task == TaskId{undone[i]});
      RC_ASSERT(run.compensations()[i].call_count == 1u);
    }
    for (std::uint32_t task = 0; task < task_count; ++task) {
      RC_ASSERT((turn[task] != SIZE_MAX) == (run.state({task}) == TaskState::kDone));
    }
    for (const auto& [before, after] : edges) {
      RC_ASSERT(turn[after] == SIZE_MAX || turn[after] < turn[before]);
    }
  }
}

enum class Kind { kGood, kFails, kHeld, kHeldAndFails, kRetried, kAppends };

// A graph of which some tasks fail, wait for somebody else, or are tried again, and what has to
// become of each.
class MixedTrial {
 public:
  MixedTrial(std::vector<Kind> kinds, const OrderTrial::Edges& edges)
      : kinds_(std::move(kinds)), begun_(kinds_.size()), sources_(kinds_.size()) {
    Graph graph;
    for (std::uint32_t task = 0; task < kinds_.size(); ++task) {
      add(graph, task);
    }
    for (const auto& [before, after] : edges) {
      graph.add_edge({before}, {after});
    }
    std::vector<bool> failing(kinds_.size());
    for (std::uint32_t task = 0; task < kinds_.size(); ++task) {
      failing[task] = fails(task);
    }
    reached_ = descendants(failing, edges);
    compiled_ = std::make_unique<CompiledGraph>(compile(std::move(graph)));
  }

  void run_once(Executor& executor) {
    for (std::uint32_t task = 0; task < kinds_.size(); ++task) {
      begun_[task] = 0;
      sources_[task].emplace();
    }
    const auto run = compiled_->run(executor).value();
    std::thread signaller([&] { signal_held(run); });
    const Status status = run.wait();
    signaller.join();
    bool all_well = true;
    for (std::uint32_t task = 0; task < kinds_.size(); ++task) {
      const TaskState state = run.state({task});
      all_well = all_well && state == TaskState::kDone;
      RC_ASSERT(state == (reached_[task] ? TaskState::kSkipped
                          : fails(task)  ? TaskState::kFailed
                                         : TaskState::kDone));
      RC_ASSERT(begun_[task] == (reached_[task] ? 0 : kinds_[task] == Kind::kRetried ? 2 : 1));
      RC_ASSERT(state != TaskState::kSkipped || run.state(run.cause({task})) == TaskState::kFailed);
    }
    RC_ASSERT(status.ok() == all_well);
    RC_ASSERT(run.progress().ended_count == run.progress().task_count);
  }

 private:
  [[nodiscard]] bool fails(std::uint32_t task) const {
    return kinds_[task] == Kind::kFails || kinds_[task] == Kind::kHeldAndFails;
  }

  void add(Graph& graph, std::uint32_t task) {
    switch (kinds_[task]) {
      case Kind::kGood:
        graph.add([this, task] { ++begun_[task]; });
        break;
      case Kind::kFails:
        graph.add([this, task] {
          ++begun_[task];
          return Status(ErrorCode::kDataLoss, "torn");
        });
        break;
      case Kind::kHeld:
      case Kind::kHeldAndFails:
        graph.add([this, task] {
          ++begun_[task];
          return sources_[task]->completion();
        });
        break;
      case Kind::kRetried:
        graph.add({.retry = {.attempt_count_max = 2}}, [this, task] {
          return ++begun_[task] == 1 ? Status(ErrorCode::kUnavailable, "not yet") : Status();
        });
        break;
      case Kind::kAppends:
        graph.add([this, task](TaskContext& context) {
          ++begun_[task];
          Graph part;
          part.add([] {});
          return context.append(std::move(part));
        });
        break;
    }
  }

  // Each when it has begun, until the run has ended.
  void signal_held(const Run& run) {
    std::vector<bool> signalled(kinds_.size());
    while (!run.completion().ready()) {
      for (std::uint32_t task = 0; task < kinds_.size(); ++task) {
        const bool is_held = kinds_[task] == Kind::kHeld || kinds_[task] == Kind::kHeldAndFails;
        if (is_held && begun_[task] > 0 && !signalled[task]) {
          signalled[task] = true;
          sources_[task]->signal(fails(task) ? Status(ErrorCode::kAborted, "lost") : Status());
        }
      }
      std::this_thread::yield();
    }
  }

  std::vector<Kind> kinds_;
  std::vector<bool> reached_;
  std::vector<std::atomic<int>> begun_;
  std::vector<std::optional<CompletionSource>> sources_;
  std::unique_ptr<CompiledGraph> compiled_;
};

RC_GTEST_PROP(RandomGraph, KnowsWhatBecameOfTasksThatDoNotJustEnd, ()) {
  const auto task_count = *rc::gen::inRange<std::uint32_t>(1, 200);
  const auto edges_per_task = *rc::gen::inRange<std::size_t>(0, 4);
  const auto rarity = *rc::gen::element(5u, 20u, 200u);
  std::vector<Kind> kinds;
  for (std::uint32_t task = 0; task < task_count; ++task) {
    const auto drawn = *rc::gen::inRange<std::uint32_t>(0, rarity);
    kinds.push_back(drawn < 5 ? static_cast<Kind>(drawn + 1) : Kind::kGood);
  }
  MixedTrial trial(std::move(kinds), random_edges(task_count, edges_per_task * task_count));
  for (const std::unique_ptr<Executor>& executor : executors()) {
    for (int round = 0; round < 2; ++round) {
      trial.run_once(*executor);
    }
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
