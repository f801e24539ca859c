#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace pinion {

/// A task of one Graph, and of the CompiledGraph made of it: its number in the order of adding.
struct TaskId {
  std::uint32_t index = 0;

  friend auto operator<=>(const TaskId&, const TaskId&) = default;
};

struct TaskOptions {
  /// Empty: "task N". Names are unique in a graph.
  std::string name = {};
};

}  // namespace pinion
