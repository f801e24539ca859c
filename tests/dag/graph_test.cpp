#include <pinion/dag/graph.hpp>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_trial.hpp"

namespace pinion {
namespace {

using testing::ElementsAre;

void do_nothing() {}

Status compile_error(Graph graph) {
  Result<CompiledGraph> compiled = std::move(graph).compile();
  return compiled.has_value() ? Status() : compiled.error();
}

TEST(Graph, NamesTheTasksOfACycle) {
  Graph graph;
  const TaskId start = graph.add({.name = "start"}, do_nothing);
  const TaskId fill = graph.add({.name = "fill"}, do_nothing);
  const TaskId drain = graph.add({.name = "drain"}, do_nothing);
  const TaskId third = graph.add(do_nothing);
  const TaskId after = graph.add({.name = "after"}, do_nothing);
  graph.add_edge(start, fill);
  graph.add_edge(fill, drain);
  graph.add_edge(drain, third);
  graph.add_edge(third, fill);
  graph.add_edge(third, after);
  EXPECT_EQ(
      compile_error(std::move(graph)).to_string(),
      "INVALID_ARGUMENT: the graph has a cycle of 3: 'fill' -> 'drain' -> 'task 3' -> 'fill'; "
      "take one of its edges out");
}

TEST(Graph, RefusesATaskThatWaitsForItself) {
  Graph graph;
  const TaskId task = graph.add({.name = "alone"}, do_nothing);
  graph.add_edge(task, task);
  EXPECT_EQ(compile_error(std::move(graph)).message(),
            "the graph has a cycle of 1: 'alone' -> 'alone'; take one of its edges out");
}

TEST(Graph, NamesOnlyTheBeginOfALongCycle) {
  Graph graph;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    graph.add(do_nothing);
    graph.add_edge({i}, {(i + 1) % 1000});
  }
  const Status status = compile_error(std::move(graph));
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(status.message().find("the graph has a cycle of 1000: 'task 0' -> 'task 1' -> "), 0u);
  EXPECT_NE(status.message().find("'task 15' -> ...; take"), std::string::npos);
}

TEST(Graph, RefusesAnEdgeOfATaskThatIsNotThere) {
  Graph graph;
  const TaskId task = graph.add(do_nothing);
  graph.add_edge(task, {7});
  EXPECT_EQ(compile_error(std::move(graph)).to_string(),
            "INVALID_ARGUMENT: an edge goes from task 0 to task 7, and the graph has 1 tasks; add "
            "tasks before their edges");
}

TEST(Graph, RefusesAnEdgeFromATaskThatIsNotThere) {
  Graph graph;
  const TaskId task = graph.add(do_nothing);
  graph.add_edge({1}, task);
  EXPECT_EQ(compile_error(std::move(graph)).message(),
            "an edge goes from task 1 to task 0, and the graph has 1 tasks; add tasks before their "
            "edges");
}

TEST(Graph, RefusesANameThatIsThereTwice) {
  Graph graph;
  graph.add({.name = "read"}, do_nothing);
  graph.add({.name = "write"}, do_nothing);
  graph.add({.name = "read"}, do_nothing);
  EXPECT_EQ(compile_error(std::move(graph)).to_string(),
            "ALREADY_EXISTS: tasks 0 and 2 are both named 'read'; names are unique in a graph");
}

TEST(Graph, KeepsNamesAndNumbersOfTasks) {
  Graph graph;
  const TaskId first = graph.add(do_nothing);
  const TaskId second = graph.add({.name = "second"}, do_nothing);
  const TaskId third = graph.add(do_nothing);
  graph.add_edge(third, first);
  const CompiledGraph compiled = std::move(graph).compile().value();
  EXPECT_EQ(compiled.task_count(), 3u);
  EXPECT_EQ(compiled.name(first), "task 0");
  EXPECT_EQ(compiled.name(second), "second");
  EXPECT_EQ(compiled.name(third), "task 2");
}

TEST(Graph, PutsOneTaskBetweenWholeLayers) {
  std::vector<int> order;
  Graph graph;
  const auto note = [&order](int number) { return [&order, number] { order.push_back(number); }; };
  const std::array before = {graph.add(note(1)), graph.add(note(1)), graph.add(note(1))};
  const std::array after = {graph.add(note(2)), graph.add(note(2))};
  graph.add_edges(before, after);
  const TaskId last = graph.add(note(3));
  graph.add_edges(after, last);
  const TaskId first = graph.add(note(0));
  graph.add_edges(first, before);
  EXPECT_EQ(graph.task_count(), 8u);
  const CompiledGraph compiled = std::move(graph).compile().value();
  const auto executor = make_executor(1);
  ASSERT_TRUE(compiled.run(*executor)->wait().ok());
  EXPECT_THAT(order, ElementsAre(0, 1, 1, 1, 2, 2, 3));
}

TEST(Graph, TakesAnEdgeTwice) {
  std::vector<int> order;
  Graph graph;
  const TaskId second = graph.add([&] { order.push_back(2); });
  const TaskId first = graph.add([&] { order.push_back(1); });
  graph.add_edge(first, second);
  graph.add_edge(first, second);
  const CompiledGraph compiled = std::move(graph).compile().value();
  const auto executor = make_executor(1);
  ASSERT_TRUE(compiled.run(*executor)->wait().ok());
  ASSERT_TRUE(compiled.run(*executor)->wait().ok());
  EXPECT_THAT(order, ElementsAre(1, 2, 1, 2));
}

// Three tasks that follow each other alone, two between them and the last one: only edges of the
// fork and the joint are kept.
TEST(Graph, FusesChains) {
  Graph graph;
  for (int i = 0; i < 6; ++i) {
    graph.add(do_nothing);
  }
  for (const auto& [before, after] :
       OrderTrial::Edges{{0, 1}, {1, 2}, {2, 3}, {2, 4}, {3, 5}, {4, 5}}) {
    graph.add_edge({before}, {after});
  }
  const CompiledGraph compiled = std::move(graph).compile().value();
  const Tables& tables = WaysForTests::tables(compiled);
  EXPECT_EQ(tables.successors.size(), 4u);
  EXPECT_EQ(tables.unit_count(), 4u);
  EXPECT_EQ(tables.level_count(), 3u);
}

TEST(Graph, DestroysWhatItsBodiesHold) {
  const auto held = std::make_shared<std::string>("held");
  {
    Graph graph;
    graph.add([held, padding = std::array<std::uint64_t, 8>()] { static_cast<void>(padding); });
    graph.add([held] {});
    EXPECT_EQ(held.use_count(), 3);
    const CompiledGraph compiled = std::move(graph).compile().value();
    EXPECT_EQ(held.use_count(), 3);
  }
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace pinion
