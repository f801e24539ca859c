#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <pinion/dag/graph.hpp>

#include "lane.hpp"
#include "tables.hpp"

namespace pinion {

/// Makes the tables of one graph.
class Compiler {
 public:
  explicit Compiler(Graph graph) : graph_(std::move(graph)) {}

  Result<CompiledGraph> compile();

 private:
  [[nodiscard]] std::uint32_t task_count() const noexcept {
    return static_cast<std::uint32_t>(graph_.tasks_.size());
  }
  Status check_names() const;
  Status check_options();
  [[nodiscard]] bool run_alike(std::uint32_t task, std::uint32_t other) const noexcept;
  Status collect_edges();
  Status put_in_order();
  void place(std::uint32_t task);
  [[nodiscard]] bool is_chained(std::uint32_t task) const noexcept;
  [[nodiscard]] Status words_of_cycle() const;
  void fill_tables();
  void fill_levels();

  Graph graph_;
  std::shared_ptr<Tables> tables_ = std::make_shared<Tables>();
  // By task: how many predecessors, where its successors begin, and those.
  std::vector<std::uint32_t> predecessor_counts_;
  std::vector<std::uint32_t> first_successors_;
  std::vector<std::uint32_t> successors_;
  // How many predecessors of a task have not been placed, and how many levels come before it.
  struct Progress {
    std::uint32_t waiting_count = 0;
    std::uint32_t level = 0;
  };
  std::vector<Progress> progress_;
};

}  // namespace pinion
