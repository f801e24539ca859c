#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/executor.hpp>
#include <pinion/dag/graph.hpp>

#include "forced_way.hpp"

namespace pinion {

inline std::unique_ptr<Executor> make_executor(std::size_t worker_count) {
  return Executor::create({.groups = {{.worker_count = worker_count}}}).value();
}

/// Workers 0 and on are at the place of index 0, the rest at that of index 1.
inline std::unique_ptr<Executor> make_executor_of_two_places(std::size_t worker_count_of_each) {
  return Executor::create(
             {.groups = {{.place = {.index = 0}, .worker_count = worker_count_of_each},
                         {.place = {.index = 1}, .worker_count = worker_count_of_each}}})
      .value();
}

/// A graph whose bodies check that they run once, and after all their predecessors. The reference
/// is the list of edges itself.
class OrderTrial {
 public:
  using Edges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

  OrderTrial(std::uint32_t task_count, Edges edges)
      : edges_(std::move(edges)), ends_(std::make_unique<std::atomic<int>[]>(task_count)) {
    std::vector<std::vector<std::uint32_t>> before(task_count);
    for (const auto& [from, to] : edges_) {
      before[to].push_back(from);
    }
    Graph graph;
    for (std::uint32_t task = 0; task < task_count; ++task) {
      graph.add([this, task, before = std::move(before[task])] { run(task, before); });
    }
    for (const auto& [from, to] : edges_) {
      graph.add_edge({from}, {to});
    }
    task_count_ = task_count;
    compiled_ = std::make_unique<CompiledGraph>(compile(std::move(graph)));
  }

  /// Empty when all is well. Not for several runs at once.
  std::string run_once(Executor& executor) {
    ++round_;
    const Status status = compiled_->run(executor)->wait();
    if (!status.ok()) {
      return status.to_string();
    }
    if (wrong_order_) {
      return "a task began before one of its predecessors had ended";
    }
    for (std::uint32_t task = 0; task < task_count_; ++task) {
      if (const int count = ends_[task].load(); count != round_) {
        return "task " + std::to_string(task) + " ended " + std::to_string(count) + " times in " +
               std::to_string(round_) + " runs";
      }
    }
    return "";
  }

 private:
  void run(std::uint32_t task, const std::vector<std::uint32_t>& before) {
    for (const std::uint32_t predecessor : before) {
      if (ends_[predecessor].load(std::memory_order_relaxed) != round_) {
        wrong_order_ = true;
      }
    }
    // A load and a store: if a task ran twice at once, one end would be lost.
    ends_[task].store(ends_[task].load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  Edges edges_;
  std::uint32_t task_count_ = 0;
  std::unique_ptr<std::atomic<int>[]> ends_;
  std::unique_ptr<CompiledGraph> compiled_;
  int round_ = 0;
  std::atomic<bool> wrong_order_ = false;
};

}  // namespace pinion
