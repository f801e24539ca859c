#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace pinion::bench {

/// A graph as every contender gets it.
struct Shape {
  struct Edge {
    std::uint32_t before;
    std::uint32_t after;
  };
  std::uint32_t task_count = 0;
  std::vector<Edge> edges = {};
};

/// Layers of `width` tasks; each task has three predecessors in the layer before, drawn with a
/// fixed seed.
inline Shape make_layered(std::uint32_t layer_count, std::uint32_t width) {
  Shape shape{.task_count = layer_count * width};
  std::uint64_t bits = 0x9E3779B97F4A7C15u;
  for (std::uint32_t task = width; task < shape.task_count; ++task) {
    const std::uint32_t layer = task / width - 1;
    for (int i = 0; i < 3; ++i) {
      bits ^= bits << 13;
      bits ^= bits >> 7;
      bits ^= bits << 17;
      shape.edges.push_back({layer * width + static_cast<std::uint32_t>(bits % width), task});
    }
  }
  return shape;
}

inline Shape make_chain(std::uint32_t task_count) {
  Shape shape{.task_count = task_count};
  for (std::uint32_t task = 1; task < task_count; ++task) {
    shape.edges.push_back({task - 1, task});
  }
  return shape;
}

/// A square of tasks; each waits for the one above it and the one to its left.
inline Shape make_wavefront(std::uint32_t side) {
  Shape shape{.task_count = side * side};
  for (std::uint32_t task = 0; task < shape.task_count; ++task) {
    if (task % side + 1 < side) {
      shape.edges.push_back({task, task + 1});
    }
    if (task + side < shape.task_count) {
      shape.edges.push_back({task, task + side});
    }
  }
  return shape;
}

/// A binary tree from the root to the leaves.
inline Shape make_tree(std::uint32_t task_count) {
  Shape shape{.task_count = task_count};
  for (std::uint32_t task = 1; task < task_count; ++task) {
    shape.edges.push_back({(task - 1) / 2, task});
  }
  return shape;
}

inline constexpr std::string_view kShapeNames[] = {"layered", "chain", "wavefront", "tree"};

/// The four that engines are compared on.
inline Shape make_shape(std::string_view name) {
  return name == "layered"     ? make_layered(100, 1000)
         : name == "chain"     ? make_chain(100'000)
         : name == "wavefront" ? make_wavefront(300)
                               : make_tree(1u << 17);
}

/// The body of every task: some dependent multiplications, about a nanosecond each, and an addition
/// to a word of its own. The word does not take part in the multiplications, so that fetching it is
/// not what is measured: neighbours of a task may run on another core.
inline void compute(std::uint32_t& word, std::uint32_t step_count) noexcept {
  std::uint32_t value = step_count;
  for (std::uint32_t i = 0; i < step_count; ++i) {
    value = value * 1664525u + 1013904223u;
    asm("" : "+r"(value));  // One after the other, and not in a closed form.
  }
  word += value == 1 ? 2 : 1;
}

}  // namespace pinion::bench
