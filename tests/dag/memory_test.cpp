// What a compiled graph and its runs hold, in bytes of the allocator.

#include <cstddef>
#include <cstdint>
#include <latch>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <pinion/dag/graph.hpp>

#include "byte_counter.hpp"
#include "dag/shapes.hpp"
#include "run_trial.hpp"

namespace pinion {
namespace {

using bench::Shape;
using testing_support::held_bytes;

constexpr std::size_t kBytesOfTask = 64;
constexpr std::size_t kBytesOfEdge = 8;

struct Body {
  std::uint64_t* sum;
  std::uint64_t amount;
  void operator()() const { *sum += amount; }
};

// Compiles the graph and runs it once, and compares with what its tasks and edges may hold, run and
// all. A body has the 16 bytes that lie in the tables.
void expect_few_bytes(const std::string& name, const Shape& shape) {
  const auto executor = make_executor(1);
  std::uint64_t sum = 0;
  const std::size_t before = held_bytes();
  Graph graph;
  for (std::uint32_t task = 0; task < shape.task_count; ++task) {
    graph.add(Body{.sum = &sum, .amount = 1});
  }
  for (const Shape::Edge& edge : shape.edges) {
    graph.add_edge({edge.before}, {edge.after});
  }
  const CompiledGraph compiled = std::move(graph).compile().value();
  const std::size_t compiled_bytes = held_bytes() - before;
  ASSERT_TRUE(compiled.run(*executor)->wait().ok());
  const std::size_t bytes = held_bytes() - before;
  EXPECT_EQ(sum, shape.task_count);
  EXPECT_GT(compiled_bytes, 32 * std::size_t{shape.task_count}) << name << ": nothing is counted";
  EXPECT_GT(bytes, compiled_bytes) << name << ": the counters of the run are not counted";
  const std::size_t bytes_max = kBytesOfTask * shape.task_count + kBytesOfEdge * shape.edges.size();
  EXPECT_LE(bytes, bytes_max) << name << ": " << compiled_bytes << " bytes compiled, "
                              << bytes - compiled_bytes << " more for runs, " << shape.task_count
                              << " tasks, " << shape.edges.size() << " edges";
}

TEST(CompiledGraphMemory, IsFewBytesForEachTaskAndEdge) {
  expect_few_bytes("layers", bench::make_layered(1000, 1000));
  expect_few_bytes("chain", bench::make_chain(200'000));
  expect_few_bytes("wavefront", bench::make_wavefront(400));
  expect_few_bytes("tree", bench::make_tree(1u << 18));
  expect_few_bytes("tasks without edges", {.task_count = 200'000});
}

// What one run has used, the next one uses again: as many sets of counters as runs that go on at
// once, and no more.
TEST(CompiledGraphMemory, IsTheSameAfterManyRuns) {
  constexpr std::uint32_t kTasks = 10'000;
  for (const RunWay way : {RunWay::kCounting, RunWay::kWaves, RunWay::kSweep}) {
    const auto executor = make_executor(1);
    Graph graph;
    for (std::uint32_t task = 0; task < kTasks; ++task) {
      graph.add([] {});
      for (const std::uint32_t distance : {1u, 7u}) {
        if (task >= distance) {
          graph.add_edge({task - distance}, {task});
        }
      }
    }
    const CompiledGraph compiled = std::move(graph).compile().value();
    WaysForTests::force(compiled, way);
    const auto run_twice_at_once = [&] {
      {
        // Neither begins before both are there.
        std::latch both(1);
        ASSERT_TRUE(executor->submit({}, [&] { both.wait(); }).ok());
        const auto first = compiled.run(*executor).value();
        const auto second = compiled.run(*executor).value();
        both.count_down();
        ASSERT_TRUE(first.wait().ok() && second.wait().ok());
      }
      // A visit that came late may still have a part in them, and has left after this.
      std::latch done(1);
      ASSERT_TRUE(executor->submit({}, [&] { done.count_down(); }).ok());
      done.wait();
    };
    const std::size_t compiled_bytes = held_bytes();
    run_twice_at_once();
    const std::size_t bytes = held_bytes();
    constexpr std::size_t kBytesOfCounters = kTasks * sizeof(std::uint32_t);
    EXPECT_GE(bytes - compiled_bytes, 2 * kBytesOfCounters);
    for (int round = 0; round < 20; ++round) {
      run_twice_at_once();
    }
    EXPECT_LT(held_bytes(), bytes + kBytesOfCounters / 2);
  }
}

// A task costs the same in a graph with many edges, and an edge the same between many tasks.
TEST(CompiledGraphMemory, GrowsWithTheEdgesByFewBytesEach) {
  const auto bytes_of = [](const Shape& shape) {
    const std::size_t before = held_bytes();
    Graph graph;
    for (std::uint32_t task = 0; task < shape.task_count; ++task) {
      graph.add([] {});
    }
    for (const Shape::Edge& edge : shape.edges) {
      graph.add_edge({edge.before}, {edge.after});
    }
    const CompiledGraph compiled = std::move(graph).compile().value();
    return held_bytes() - before;
  };
  Shape shape = bench::make_layered(100, 1000);
  const std::size_t once = bytes_of(shape);
  const std::size_t edge_count = shape.edges.size();
  for (std::size_t i = 0; i < 3 * edge_count; ++i) {
    shape.edges.push_back(Shape::Edge(shape.edges[i]));
  }
  EXPECT_LE(bytes_of(shape) - once, kBytesOfEdge * 3 * edge_count);
}

}  // namespace
}  // namespace pinion
