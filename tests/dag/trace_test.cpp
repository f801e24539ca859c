// The trace of a run as a viewer reads it: one track a worker.

#include <pinion/core/trace.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <pinion/dag/graph.hpp>

#include "run_trial.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using Json = nlohmann::json;
using testing::UnorderedElementsAre;

struct Span {
  std::size_t worker = 0;
  std::uint32_t task = 0;
  std::int64_t begin = 0;  // Nanoseconds.
  std::int64_t end = 0;
  std::string name = {};
  std::string place = {};
};

// In the order in which they began.
std::vector<Span> spans_of(const Trace& trace) {
  const TemporaryFolder folder;
  const std::string path = folder / "trace.json";
  EXPECT_TRUE(trace.write(path, 0).ok());
  std::ifstream file(path);
  const Json events = Json::parse(file).at("traceEvents");
  std::vector<Span> spans;
  for (const Json& event : events) {
    if (event.at("ph") != "X") {
      continue;
    }
    const auto nanoseconds = [&event](const char* name) {
      return std::llround(1000 * event.at(name).get<double>());
    };
    spans.push_back({.worker = event.at("tid"),
                     .task = event.at("args").at("id"),
                     .begin = nanoseconds("ts"),
                     .end = nanoseconds("ts") + nanoseconds("dur"),
                     .name = event.at("name"),
                     .place = event.at("args").at("place")});
  }
  std::sort(spans.begin(), spans.end(),
            [](const Span& one, const Span& other) { return one.begin < other.begin; });
  return spans;
}

// A wavefront of which each task notes its worker.
TEST(RunTrace, HasEachTaskOnTheTrackOfItsWorker) {
  constexpr std::uint32_t kSide = 12;
  constexpr std::uint32_t kTasks = kSide * kSide;
  const auto executor = make_executor(3);
  Trace trace({.enabled = true}, executor->worker_count());
  std::vector<std::size_t> workers(kTasks);
  OrderTrial::Edges edges;
  Graph graph;
  for (std::uint32_t task = 0; task < kTasks; ++task) {
    graph.add([&, task] { workers[task] = executor->current_worker(); });
    if (task % kSide > 0) {
      edges.emplace_back(task - 1, task);
    }
    if (task >= kSide) {
      edges.emplace_back(task - kSide, task);
    }
  }
  for (const auto& [before, after] : edges) {
    graph.add_edge({before}, {after});
  }
  const CompiledGraph compiled = compile(std::move(graph));
  ASSERT_TRUE(compiled.run(*executor, {.trace = &trace})->wait().ok());
  const std::vector<Span> spans = spans_of(trace);
  ASSERT_EQ(spans.size(), kTasks);
  std::vector<const Span*> span_of(kTasks);
  std::vector<std::int64_t> track_ends(executor->worker_count());
  for (const Span& span : spans) {
    ASSERT_EQ(std::exchange(span_of[span.task], &span), nullptr) << "task " << span.task;
    EXPECT_EQ(span.worker, workers[span.task]) << "task " << span.task;
    EXPECT_LE(track_ends[span.worker], span.begin) << "spans of a track overlap";
    track_ends[span.worker] = span.end;
  }
  // A span begins where the one before on its track ended, when nothing lies between. So it may
  // begin before a span of another track has ended that its task waited for.
  for (const auto& [before, after] : edges) {
    if (span_of[before]->worker == span_of[after]->worker) {
      EXPECT_LE(span_of[before]->end, span_of[after]->begin) << before << " and " << after;
    }
  }
}

TEST(RunTrace, HasTheTracksOfAllPlaces) {
  const auto executor = make_executor_of_two_places(1);
  Trace trace({.enabled = true}, executor->worker_count());
  Graph graph;
  for (std::uint32_t task = 0; task < 8; ++task) {
    const Place place{.index = static_cast<std::uint16_t>(task % 2)};
    graph.add({.name = place.index == 0 ? "left " + std::to_string(task) : "", .place = place},
              [] {});
    if (task > 0) {
      graph.add_edge({task - 1}, {task});
    }
  }
  const CompiledGraph compiled = compile(std::move(graph));
  ASSERT_TRUE(compiled.run(*executor, {.trace = &trace})->wait().ok());
  const std::vector<Span> spans = spans_of(trace);
  ASSERT_EQ(spans.size(), 8u);
  for (std::uint32_t task = 0; task < 8; ++task) {
    EXPECT_EQ(spans[task].task, task);
    EXPECT_EQ(spans[task].worker, task % 2);
    EXPECT_EQ(spans[task].place, "numa " + std::to_string(task % 2) + " of host 0");
    EXPECT_EQ(spans[task].name, task % 2 == 0 ? "left " + std::to_string(task) : "task");
  }
}

TEST(RunTrace, HasEveryAttemptAlsoThoseThatFail) {
  const auto executor = make_executor(1);
  Trace trace({.enabled = true}, executor->worker_count());
  Graph graph;
  graph.add({.name = "flaky", .retry = {.attempt_count_max = 3}},
            [] { return Status(ErrorCode::kUnavailable, "not yet"); });
  graph.add([]() -> Status { throw 7; });
  const CompiledGraph compiled = compile(std::move(graph));
  EXPECT_FALSE(compiled.run(*executor, {.trace = &trace})->wait().ok());
  std::vector<std::string> names;
  for (const Span& span : spans_of(trace)) {
    names.push_back(span.name);
  }
  EXPECT_THAT(names, UnorderedElementsAre("flaky", "flaky", "flaky", "task"));
}

}  // namespace
}  // namespace pinion
