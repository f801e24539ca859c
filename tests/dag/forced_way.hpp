#pragma once

#include <cstddef>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <pinion/dag/graph.hpp>

#include "tables.hpp"

namespace pinion {

/// Decides for a graph in which way its runs go, as far as its tasks permit.
struct WaysForTests {
  static void force(const CompiledGraph& compiled, Way way) { compiled.tables_->forced_way = way; }

  /// As if runs on so many workers had taken that time.
  static void note(const CompiledGraph& compiled, std::size_t workers, double nanoseconds_a_task) {
    const MutexLock lock(compiled.tables_->mutex);
    const Way way = compiled.tables_->way_choice.choose(workers, /*width=*/1);
    compiled.tables_->way_choice.note(way, workers, nanoseconds_a_task);
  }
};

/// Compiles, and forces the way that the environment names in PINION_DAG_WAY, if any: the same
/// tests run in each.
inline CompiledGraph compile(Graph graph) {
  CompiledGraph compiled = std::move(graph).compile().value();
  const char* const text = std::getenv("PINION_DAG_WAY");
  const std::string_view way = text == nullptr ? "" : text;
  if (way == "counting") {
    WaysForTests::force(compiled, Way::kCounting);
  } else if (way == "waves") {
    WaysForTests::force(compiled, Way::kWaves);
  } else if (way == "sweep") {
    WaysForTests::force(compiled, Way::kSweep);
  }
  return compiled;
}

}  // namespace pinion
