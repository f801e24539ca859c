#include <atomic>
#include <fstream>
#include <latch>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pinion/core/trace.hpp>
#include <pinion/dag/graph.hpp>

#include "run_trial.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Values, FlowAlongEdgesWithoutACopy) {
  // A type that can be neither copied nor moved.
  struct Fixed {
    explicit Fixed(int number_) : number(number_), self(this) {}
    Fixed(const Fixed&) = delete;
    Fixed& operator=(const Fixed&) = delete;
    int number;
    const Fixed* self;
  };
  const auto executor = make_executor(2);
  Graph graph;
  const ValueTask<Fixed> one = graph.add({.name = "one"}, [] { return Fixed(1); });
  const ValueTask<std::string> two = graph.add([] { return std::string(100, '2'); });
  const ValueTask<std::vector<const Fixed*>> both = graph.add(
      [](const Fixed& fixed, const std::string& text) {
        return std::vector<const Fixed*>(text.size(), &fixed);
      },
      one, two);
  std::size_t seen = 0;
  const TaskId last = graph.add(
      [&](const std::vector<const Fixed*>& all) -> Status {
        seen = all.size();
        return {};
      },
      both);
  const CompiledGraph compiled = compile(std::move(graph));
  for (int round = 0; round < 3; ++round) {
    const auto run = compiled.run(*executor).value();
    ASSERT_TRUE(run.wait().ok());
    EXPECT_EQ(seen, 100u);
    EXPECT_EQ(run.value(one).self, &run.value(one));
    EXPECT_EQ(run.value(both)[99], &run.value(one));
    EXPECT_EQ(run.state(last), TaskState::kDone);
  }
}

TEST(Values, AreDestroyedWithTheRun) {
  const auto executor = make_executor(1);
  const auto held = std::make_shared<int>(0);
  Graph graph;
  const auto makes = graph.add([held] { return std::shared_ptr<int>(held); });
  graph.add([](const std::shared_ptr<int>&) { throw 1; }, makes);
  const CompiledGraph compiled = compile(std::move(graph));
  {
    const auto run = compiled.run(*executor).value();
    EXPECT_FALSE(run.wait().ok());
    EXPECT_EQ(run.value(makes), held);
  }
  // The run's memory is kept for the next one; the value is not. A visit that came late may still
  // have a part in it, and has left when the executor has nothing more to do.
  std::latch done(1);
  ASSERT_TRUE(executor->submit({}, [&] { done.count_down(); }).ok());
  done.wait();
  EXPECT_EQ(held.use_count(), 2);
}

TEST(ValuesDeathTest, AreNotThereWhenTheTaskFailed) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto executor = make_executor(1);
  Graph graph;
  const ValueTask<int> fails = graph.add([]() -> int { throw 1; });
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  EXPECT_FALSE(run.wait().ok());
  EXPECT_DEATH(static_cast<void>(run.value(fails)), "kDone");
}

// Neither in the order of adding nor the newest first: that would be another order.
TEST(Priorities, DecideWhichReadyTaskIsNext) {
  const auto executor = make_executor(1);
  std::vector<std::string> order;
  Graph graph;
  const TaskId root = graph.add([] {});
  const auto add = [&](const char* name, TaskPriority priority) {
    const TaskId task =
        graph.add({.name = name, .priority = priority}, [&order, name] { order.push_back(name); });
    graph.add_edge(root, task);
    return task;
  };
  add("high", TaskPriority::kHigh);
  add("low", TaskPriority::kLow);
  const TaskId normal = add("normal", TaskPriority::kNormal);
  add("lower", TaskPriority::kLow);
  const TaskId urgent = graph.add({.name = "urgent", .priority = TaskPriority::kHigh},
                                  [&] { order.push_back("urgent"); });
  graph.add_edge(normal, urgent);
  const CompiledGraph compiled = compile(std::move(graph));
  ASSERT_TRUE(compiled.run(*executor)->wait().ok());
  EXPECT_THAT(order, ElementsAre("high", "normal", "urgent", "lower", "low"));
}

TEST(Priorities, DecideAmongTasksWithoutPredecessorsToo) {
  const auto executor = make_executor(1);
  std::vector<int> order;
  Graph graph;
  const auto add = [&](int number, TaskPriority priority) {
    return graph.add({.priority = priority}, [&order, number] { order.push_back(number); });
  };
  add(6, TaskPriority::kLow);
  const TaskId third = add(3, TaskPriority::kNormal);
  add(1, TaskPriority::kHigh);
  add(7, TaskPriority::kLow);
  add(5, TaskPriority::kNormal);
  add(2, TaskPriority::kHigh);
  const TaskId fourth = add(4, TaskPriority::kNormal);
  graph.add_edge(third, fourth);
  const CompiledGraph compiled = compile(std::move(graph));
  for (int round = 0; round < 2; ++round) {
    order.clear();
    ASSERT_TRUE(compiled.run(*executor)->wait().ok());
    EXPECT_THAT(order, ElementsAre(1, 2, 3, 4, 5, 6, 7));
  }
}

// A task that follows the only one before it does not take over its priority.
TEST(Priorities, AreKeptInAChain) {
  const auto executor = make_executor(1);
  std::vector<int> order;
  Graph graph;
  const auto add = [&](int number, TaskPriority priority) {
    return graph.add({.priority = priority}, [&order, number] { order.push_back(number); });
  };
  const TaskId first = add(1, TaskPriority::kHigh);
  add(2, TaskPriority::kNormal);
  const TaskId last = add(3, TaskPriority::kLow);
  graph.add_edge(first, last);
  const CompiledGraph compiled = compile(std::move(graph));
  ASSERT_TRUE(compiled.run(*executor)->wait().ok());
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

TEST(Places, RunTheirTasks) {
  const Place left{.index = 0};
  const Place right{.index = 1};
  const auto executor = Executor::create({.groups = {{.place = left, .worker_count = 2},
                                                     {.place = right, .worker_count = 1}}})
                            .value();
  std::atomic<int> wrong_count = 0;
  std::atomic<int> run_count = 0;
  Graph graph;
  std::vector<TaskId> tasks;
  for (std::uint32_t i = 0; i < 600; ++i) {
    const bool is_right = i % 3 == 0;
    const bool is_free = i % 5 == 0;
    TaskOptions options{.priority = i % 2 == 0 ? TaskPriority::kHigh : TaskPriority::kNormal};
    if (!is_free) {
      options.place = is_right ? right : left;
    }
    tasks.push_back(graph.add(std::move(options), [&, is_right, is_free] {
      ++run_count;
      if (!is_free && (executor->current_worker() == 2) != is_right) {
        ++wrong_count;
      }
    }));
    if (i >= 10) {
      graph.add_edge(tasks[i - 10 + i % 3], tasks[i]);
      graph.add_edge(tasks[i / 2], tasks[i]);
    }
  }
  const CompiledGraph compiled = compile(std::move(graph));
  for (int round = 1; round <= 50; ++round) {
    ASSERT_TRUE(compiled.run(*executor)->wait().ok());
    ASSERT_EQ(run_count, 600 * round);
  }
  EXPECT_EQ(wrong_count, 0);
}

// A chain from place to place, of which each task is tried twice and one waits for somebody else.
TEST(Places, AreKeptInAChainAndByEachAttempt) {
  const Place places[] = {{.index = 0}, {.index = 1}};
  const auto executor = make_executor_of_two_places(1);
  constexpr std::uint32_t kTasks = 20;
  CompletionSource source;
  std::vector<std::vector<std::size_t>> workers(kTasks + 2);
  Graph graph;
  for (std::uint32_t i = 0; i < kTasks; ++i) {
    graph.add({.place = places[i % 2], .retry = {.attempt_count_max = 2}}, [&, i] {
      workers[i].push_back(executor->current_worker());
      return workers[i].size() == 1 ? Status(ErrorCode::kUnavailable, "not yet") : Status();
    });
  }
  graph.add({.place = places[1]}, [&, completion = source.completion()] {
    workers[kTasks].push_back(executor->current_worker());
    return completion;
  });
  graph.add([&] { workers[kTasks + 1].push_back(executor->current_worker()); });
  for (std::uint32_t i = 0; i <= kTasks; ++i) {
    graph.add_edge({i}, {i + 1});
  }
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor).value();
  source.signal({});
  ASSERT_TRUE(run.wait().ok());
  for (std::uint32_t i = 0; i < kTasks; ++i) {
    EXPECT_THAT(workers[i], ElementsAre(i % 2, i % 2)) << "task " << i;
  }
  EXPECT_THAT(workers[kTasks], ElementsAre(1u));
  EXPECT_THAT(workers[kTasks + 1], ElementsAre(1u));  // Where it became ready.
}

// Tasks that may run anywhere take part at each place, though one lane takes all roots.
TEST(Places, ShareTasksWithoutAPlaceThatHavePriorities) {
  const auto executor = make_executor_of_two_places(1);
  // Each body waits for the other, so it takes a worker of each place.
  std::latch both(2);
  Graph graph;
  for (int i = 0; i < 2; ++i) {
    graph.add({.priority = TaskPriority::kHigh}, [&] { both.arrive_and_wait(); });
  }
  graph.add({.place = Place{.index = 0}, .priority = TaskPriority::kLow}, [] {});
  const CompiledGraph compiled = compile(std::move(graph));
  EXPECT_TRUE(compiled.run(*executor)->wait().ok());
}

TEST(Places, OfAnExecutorWithoutThemAreRefused) {
  const auto executor = make_executor(1);
  Graph graph;
  graph.add({.name = "far", .place = Place{.index = 7}}, [] {});
  const CompiledGraph compiled = compile(std::move(graph));
  EXPECT_THAT(std::string(compiled.run(*executor).error().message()),
              HasSubstr("'far' has a place"));
}

TEST(Places, OfAnExecutorAllTakePartInAGraphWithoutPlaces) {
  const auto executor = Executor::create({.groups = {{.place = {.index = 0}, .worker_count = 1},
                                                     {.place = {.index = 1}, .worker_count = 1}}})
                            .value();
  // Each body waits for the other, so it takes a worker of each place.
  std::latch both(2);
  Graph graph;
  for (int i = 0; i < 2; ++i) {
    graph.add([&] { both.arrive_and_wait(); });
  }
  // The first run of a graph counts, so that whoever is free takes what is ready.
  const CompiledGraph compiled = std::move(graph).compile().value();
  EXPECT_TRUE(compiled.run(*executor)->wait().ok());
}

TEST(States, AreKnownWhileTheRunGoesOnIfAskedFor) {
  const auto executor = make_executor(1);
  std::latch begun(1);
  std::latch looked(1);
  Graph graph;
  const TaskId first = graph.add([] {});
  const TaskId second = graph.add([&] {
    begun.count_down();
    looked.wait();
  });
  const TaskId third = graph.add([] {});
  graph.add_edge(first, second);
  graph.add_edge(second, third);
  const CompiledGraph compiled = compile(std::move(graph));
  const auto run = compiled.run(*executor, {.record_states = true}).value();
  begun.wait();
  EXPECT_EQ(run.state(first), TaskState::kDone);
  EXPECT_EQ(run.state(second), TaskState::kRunning);
  EXPECT_EQ(run.state(third), TaskState::kOpen);
  looked.count_down();
  EXPECT_TRUE(run.wait().ok());
  EXPECT_EQ(run.state(third), TaskState::kDone);
}

TEST(Dot, HasEveryTaskAndEveryEdge) {
  Graph graph;
  const TaskId first = graph.add({.name = "say \"a\""}, [] {});
  const TaskId second = graph.add([] {});
  const TaskId third = graph.add({.name = "c"}, [] {});
  graph.add_edge(first, second);
  graph.add_edge(second, third);
  graph.add_edge(first, third);
  EXPECT_EQ(compile(std::move(graph)).to_dot(),
            "digraph {\n"
            "  0 [label=\"say \\\"a\\\"\"]\n"
            "  1 [label=\"task 1\"]\n"
            "  2 [label=\"c\"]\n"
            "  0 -> 1\n"
            "  0 -> 2\n"
            "  1 -> 2\n"
            "}\n");
}

TEST(Traces, HaveASpanForEachTask) {
  const TemporaryFolder folder;
  const auto executor = make_executor(2);
  Trace trace({.enabled = true}, executor->worker_count());
  Graph graph;
  const TaskId first = graph.add({.name = "first"}, [] {});
  const TaskId second = graph.add([] {});
  graph.add_edge(first, second);
  const CompiledGraph compiled = compile(std::move(graph));
  ASSERT_TRUE(compiled.run(*executor, {.trace = &trace})->wait().ok());
  const std::string path = folder / "trace.json";
  ASSERT_TRUE(trace.write(path, 0).ok());
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("\"name\":\"first\""));
  EXPECT_THAT(text.str(), HasSubstr("\"name\":\"task\""));
  EXPECT_THAT(text.str(), HasSubstr("\"args\":{\"id\":1,"));
}

}  // namespace
}  // namespace pinion
