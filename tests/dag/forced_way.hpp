#pragma once

#include <cstdlib>
#include <string_view>
#include <utility>

#include <pinion/dag/graph.hpp>

#include "tables.hpp"

namespace pinion {

/// Decides for a graph in which way its runs go, as far as its tasks permit.
struct WaysForTests {
  static void force(const CompiledGraph& compiled, Way way) { compiled.tables_->forced_way = way; }
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
