#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "shapes.hpp"

namespace pinion::bench {

/// What one thread needs at least to run a graph in an order that the edges allow: a stack of ready
/// tasks, an atomic operation for each edge, and for each task a look at a flag and a call.
class Floor {
 public:
  using Function = void (*)(void* argument, std::uint32_t task);

  explicit Floor(const Shape& shape)
      : functions_(shape.task_count),
        first_(shape.task_count + std::size_t{1}),
        predecessors_(shape.task_count),
        counters_(std::make_unique<std::atomic<std::uint32_t>[]>(shape.task_count)),
        stack_(shape.task_count) {
    for (const Shape::Edge& edge : shape.edges) {
      ++first_[edge.before + 1];
      ++predecessors_[edge.after];
    }
    for (std::size_t task = 0; task < shape.task_count; ++task) {
      first_[task + 1] += first_[task];
    }
    std::vector<std::uint32_t> next(first_.begin(), first_.end() - 1);
    successors_.resize(shape.edges.size());
    for (const Shape::Edge& edge : shape.edges) {
      successors_[next[edge.before]++] = edge.after;
    }
  }

  void set_all(Function function) { functions_.assign(functions_.size(), function); }

  void run(void* argument) noexcept {
    const auto count = static_cast<std::uint32_t>(functions_.size());
    std::size_t top = 0;
    for (std::uint32_t task = 0; task < count; ++task) {
      counters_[task].store(predecessors_[task], std::memory_order_relaxed);
      if (predecessors_[task] == 0) {
        stack_[top++] = task;
      }
    }
    while (top > 0) {
      const std::uint32_t task = stack_[--top];
      if (cancelled_.load(std::memory_order_relaxed)) {
        return;
      }
      functions_[task](argument, task);
      for (std::uint32_t i = first_[task]; i < first_[task + 1]; ++i) {
        if (counters_[successors_[i]].fetch_sub(1, std::memory_order_acq_rel) == 1) {
          stack_[top++] = successors_[i];
        }
      }
    }
  }

 private:
  std::vector<Function> functions_;
  std::vector<std::uint32_t> first_;
  std::vector<std::uint32_t> successors_;
  std::vector<std::uint32_t> predecessors_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> counters_;
  std::vector<std::uint32_t> stack_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace pinion::bench
