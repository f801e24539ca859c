#pragma once

#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include <pinion/core/assert.hpp>
#include <pinion/dag/graph.hpp>

#include "tables.hpp"

namespace pinion {

/// Decides for a graph in which way its runs go, as far as its tasks permit.
struct WaysForTests {
  static void force(const CompiledGraph& compiled, RunWay way) {
    compiled.tables_->forced_way = way;
  }

  static const Tables& tables(const CompiledGraph& compiled) { return *compiled.tables_; }

  /// As if runs on so many workers had taken that time.
  static void note(const CompiledGraph& compiled, std::size_t workers, double nanoseconds_a_task) {
    const MutexLock lock(compiled.tables_->mutex);
    const RunWay way = compiled.tables_->way_choice.choose(workers, /*width=*/1);
    compiled.tables_->way_choice.note(way, workers, nanoseconds_a_task);
  }
};

/// What the environment names in PINION_DAG_WAY, if anything.
inline std::optional<RunWay> way_of_environment() {
  const char* const text = std::getenv("PINION_DAG_WAY");
  if (text == nullptr || *text == '\0') {
    return std::nullopt;
  }
  const std::string_view name = text;
  // A word that is misspelt must not leave a way without its tests.
  PINION_ASSERT(name == "counting" || name == "waves" || name == "sweep");
  return name == "counting" ? RunWay::kCounting : name == "waves" ? RunWay::kWaves : RunWay::kSweep;
}

/// Compiles, and forces the way of the environment: the same tests run in each.
inline CompiledGraph compile(Graph graph) {
  CompiledGraph compiled = std::move(graph).compile().value();
  if (const std::optional<RunWay> way = way_of_environment()) {
    WaysForTests::force(compiled, *way);
  }
  return compiled;
}

}  // namespace pinion
