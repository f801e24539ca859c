// What the graph engine costs beside the least that one thread needs, and what compiling and
// cancelling take. bench/dag_compare sets it beside other engines.
//
// Expected before measuring, on a core of a few GHz: a task costs one indirect call, two looks at
// lines that lie in the order of the run, and a count for each edge: 3 to 4 ns in a chain or a
// tree, 5 to 10 in a wavefront, 20 to 25 in random layers, where each count misses the first cache;
// less than the floor on one worker, where a count need not be atomic. A trace adds a look at the
// clock, 25 ns. Compiling goes over all edges three times, in an order that misses the cache: 20 to
// 40 ns a task and edge. A run that is cancelled walks over nothing, and the next one arms its
// counters in one pass over the tables, at the speed of memory: 3 to 5 ns a task; states are found
// in another pass, 10 ns. Who cancels has control back when the bodies that run have ended and a
// sleeping thread has been woken: within 150 us where they take 100.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include <pinion/core/executor.hpp>
#include <pinion/core/trace.hpp>
#include <pinion/dag/graph.hpp>

#include "dag/floor.hpp"
#include "dag/shapes.hpp"

namespace pinion {
namespace {

using bench::compute;
using bench::kShapeNames;
using bench::Shape;

std::unique_ptr<Executor> make_executor(std::size_t worker_count) {
  WorkerGroup group{.worker_count = worker_count};
  for (std::size_t i = worker_count; i > 0; --i) {
    group.cpus.push_back(static_cast<unsigned>(i - 1));
  }
  return Executor::create({.groups = {group}}).value();
}

void require_ok(const Status& status) {
  if (!status.ok()) {
    exit_with(status);
  }
}

// Bodies of about 0, 100 and 1000 ns.
struct Words {
  Words(std::size_t count, std::uint32_t steps) : words(count), step_count(steps) {}
  std::vector<std::uint32_t> words;
  std::uint32_t step_count;
};

Graph make_graph(const Shape& shape, Words& data) {
  Graph graph;
  graph.reserve(shape.task_count, shape.edges.size());
  for (std::uint32_t task = 0; task < shape.task_count; ++task) {
    graph.add([&data, task] { compute(data.words[task], data.step_count); });
  }
  for (const Shape::Edge& edge : shape.edges) {
    graph.add_edge({edge.before}, {edge.after});
  }
  return graph;
}

void report(benchmark::State& state, std::size_t item_count) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(item_count));
  state.counters["per_item"] = benchmark::Counter(
      static_cast<double>(item_count),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

Shape shape_of(const benchmark::State& state) {
  return bench::make_shape(kShapeNames[state.range(0)]);
}

void BM_Floor(benchmark::State& state) {
  const Shape shape = shape_of(state);
  Words data(shape.task_count, static_cast<std::uint32_t>(state.range(1)));
  bench::Floor floor(shape);
  floor.set_all([](void* argument, std::uint32_t task) {
    Words& of = *static_cast<Words*>(argument);
    compute(of.words[task], of.step_count);
  });
  for (auto _ : state) {
    floor.run(&data);
  }
  state.SetLabel(std::string(kShapeNames[state.range(0)]));
  report(state, shape.task_count);
}

void BM_Run(benchmark::State& state) {
  const Shape shape = shape_of(state);
  Words data(shape.task_count, static_cast<std::uint32_t>(state.range(1)));
  const CompiledGraph compiled = make_graph(shape, data).compile().value();
  const auto executor = make_executor(static_cast<std::size_t>(state.range(2)));
  for (auto _ : state) {
    require_ok(compiled.run(*executor)->wait());
  }
  state.SetLabel(std::string(kShapeNames[state.range(0)]));
  report(state, shape.task_count);
}

void BM_TracedRun(benchmark::State& state) {
  const Shape shape = shape_of(state);
  Words data(shape.task_count, 0);
  const CompiledGraph compiled = make_graph(shape, data).compile().value();
  const auto executor = make_executor(static_cast<std::size_t>(state.range(1)));
  Trace trace({.enabled = true}, executor->worker_count());
  for (auto _ : state) {
    require_ok(compiled.run(*executor, {.trace = &trace})->wait());
  }
  state.SetLabel(std::string(kShapeNames[state.range(0)]));
  report(state, shape.task_count);
}

// Two runs of one graph at once, traced, where one leaf in a thousand throws; and the same bodies
// in loops without a graph, for the ratio.
Graph make_throwing_tree(const Shape& shape, Words& data) {
  Graph graph;
  for (std::uint32_t task = 0; task < shape.task_count; ++task) {
    graph.add([&data, task, throws = task > data.words.size() / 2 && task % 1000 == 0] {
      compute(data.words[task], data.step_count);
      if (throws) {
        throw 1;
      }
    });
  }
  for (const Shape::Edge& edge : shape.edges) {
    graph.add_edge({edge.before}, {edge.after});
  }
  return graph;
}

void BM_TwoRunsWithFailures(benchmark::State& state) {
  const Shape shape = bench::make_tree(1u << 14);
  Words data(shape.task_count, 1000);
  const CompiledGraph compiled = make_throwing_tree(shape, data).compile().value();
  const auto executor = make_executor(2);
  Trace trace({.enabled = true}, executor->worker_count());
  for (auto _ : state) {
    const auto first = compiled.run(*executor, {.trace = &trace});
    const auto second = compiled.run(*executor, {.trace = &trace});
    if (first->wait().ok() || second->wait().ok()) {
      state.SkipWithError("nothing failed");
    }
  }
  report(state, 2 * std::size_t{shape.task_count});
}

void BM_TwoRunsWithoutAGraph(benchmark::State& state) {
  const Shape shape = bench::make_tree(1u << 14);
  Words data(shape.task_count, 1000);
  const auto executor = make_executor(2);
  for (auto _ : state) {
    for (int run = 0; run < 2; ++run) {
      require_ok(executor->parallel_for(
          {0, shape.task_count}, [&](std::size_t i) { compute(data.words[i], data.step_count); }));
    }
  }
  report(state, 2 * std::size_t{shape.task_count});
}

void BM_Compile(benchmark::State& state) {
  const Shape shape = bench::make_layered(1000, 1000);
  Words data(shape.task_count, 0);
  for (auto _ : state) {
    state.PauseTiming();
    Graph graph = make_graph(shape, data);
    state.ResumeTiming();
    Result<CompiledGraph> compiled = std::move(graph).compile();
    state.PauseTiming();
    require_ok(compiled.has_value() ? Status() : compiled.error());
    compiled = Status(ErrorCode::kCancelled, "");  // Destroyed outside of what is timed.
    state.ResumeTiming();
  }
  report(state, shape.task_count + shape.edges.size());
}

// A run that its first task cancels, from its begin to its end, and with what the next run finds to
// do.
CompiledGraph make_cancelling(Words& data) {
  const Shape shape = bench::make_layered(1000, 1000);
  Graph graph = make_graph(shape, data);
  const TaskId first = graph.add([](TaskContext& context) { context.cancel_run(); });
  for (std::uint32_t task = 0; task < 1000; ++task) {
    graph.add_edge(first, {task});
  }
  return std::move(graph).compile().value();
}

void BM_Cancel(benchmark::State& state) {
  Words data(1'000'000, 0);
  const CompiledGraph compiled = make_cancelling(data);
  const auto executor = make_executor(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    if (compiled.run(*executor)->wait().code() != ErrorCode::kCancelled) {
      state.SkipWithError("it was not cancelled");
    }
  }
  report(state, compiled.task_count());
}

// The same, and somebody asks for the state of a task.
void BM_CancelAndAsk(benchmark::State& state) {
  Words data(1'000'000, 0);
  const CompiledGraph compiled = make_cancelling(data);
  const auto executor = make_executor(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    const auto run = compiled.run(*executor).value();
    if (run.wait().code() != ErrorCode::kCancelled ||
        run.state({999'999}) != TaskState::kCancelled) {
      state.SkipWithError("it was not cancelled");
    }
  }
  report(state, compiled.task_count());
}

// How long cancel() and wait() of another thread take while every worker is in a body of 100 us and
// a million tasks wait: in layers, or all of them ready, behind one task.
void BM_CancelFromOutside(benchmark::State& state) {
  const bool has_layers = state.range(1) == 0;
  const Shape shape = has_layers ? bench::make_layered(1000, 1000) : Shape{.task_count = 1'000'000};
  Words data(shape.task_count, 100'000);
  std::atomic<std::uint32_t> begun = 0;
  Graph graph;
  for (std::uint32_t task = 0; task < shape.task_count; ++task) {
    graph.add([&data, &begun] {
      std::uint32_t word = ++begun;
      compute(word, data.step_count);
    });
    if (!has_layers && task > 0) {
      graph.add_edge({0}, {task});
    }
  }
  for (const Shape::Edge& edge : shape.edges) {
    graph.add_edge({edge.before}, {edge.after});
  }
  const CompiledGraph compiled = std::move(graph).compile().value();
  const auto workers = static_cast<std::uint32_t>(state.range(0));
  const auto executor = make_executor(workers);
  const SystemClock clock;
  std::vector<double> seconds;
  for (auto _ : state) {
    begun = 0;
    const auto run = compiled.run(*executor).value();
    while (begun < 10 * workers) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    const Instant begin = clock.now();
    run.cancel();
    const Status status = run.wait();
    seconds.push_back(std::chrono::duration<double>(clock.now() - begin).count());
    state.SetIterationTime(seconds.back());
    if (status.code() != ErrorCode::kCancelled) {
      state.SkipWithError("it was not cancelled");
    }
  }
  std::sort(seconds.begin(), seconds.end());
  state.counters["p50"] = seconds[seconds.size() / 2];
  state.counters["p99"] = seconds[seconds.size() * 99 / 100];
  state.counters["max"] = seconds.back();
  state.counters["above_1ms"] = static_cast<double>(
      std::count_if(seconds.begin(), seconds.end(), [](double time) { return time > 0.001; }));
}

// A run of one task: what a run costs besides its tasks.
void BM_SmallestRun(benchmark::State& state) {
  Graph graph;
  graph.add([] {});
  const CompiledGraph compiled = std::move(graph).compile().value();
  const auto executor = make_executor(1);
  for (auto _ : state) {
    require_ok(compiled.run(*executor)->wait());
  }
}

BENCHMARK(BM_Floor)->ArgNames({"shape", "steps"})->ArgsProduct({{0, 1, 2, 3}, {0, 100, 1000}});
BENCHMARK(BM_Run)
    ->ArgNames({"shape", "steps", "workers"})
    ->ArgsProduct({{0, 1, 2, 3}, {0, 100, 1000}, {1, 2}})
    ->UseRealTime();
BENCHMARK(BM_TracedRun)
    ->ArgNames({"shape", "workers"})
    ->ArgsProduct({{0, 3}, {1, 2}})
    ->UseRealTime();
BENCHMARK(BM_TwoRunsWithFailures)->UseRealTime();
BENCHMARK(BM_TwoRunsWithoutAGraph)->UseRealTime();
BENCHMARK(BM_Compile)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Cancel)->ArgName("workers")->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(BM_CancelAndAsk)->ArgName("workers")->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(BM_CancelFromOutside)
    ->ArgNames({"workers", "fan"})
    ->ArgsProduct({{1, 2}, {0, 1}})
    ->Iterations(200)
    ->UseManualTime();
BENCHMARK(BM_SmallestRun)->UseRealTime();

}  // namespace
}  // namespace pinion
