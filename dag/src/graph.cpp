#include <pinion/dag/graph.hpp>

#include <utility>

#include <pinion/core/assert.hpp>

#include "compiler.hpp"

namespace pinion {

void Graph::add_edges(std::span<const TaskId> before, std::span<const TaskId> after) {
  if (before.size() < 2 || after.size() < 2) {
    for (const TaskId first : before) {
      for (const TaskId second : after) {
        add_edge(first, second);
      }
    }
    return;
  }
  const TaskId joint = add([] {});
  add_edges(before, joint);
  add_edges(joint, after);
}

void Graph::reserve(std::size_t task_count, std::size_t edge_count) {
  tasks_.reserve(task_count);
  edges_.reserve(edge_count);
}

TaskId Graph::add_body(const detail::TaskBody& body) {
  // Beyond, numbers would be ambiguous; compile() refuses such graphs with words.
  const auto index = static_cast<std::uint32_t>(tasks_.size());
  tasks_.push_back(body);
  return {index};
}

void Graph::set_options(TaskId task, TaskOptions options) {
  options_.push_back(std::move(options));
  options_of_.resize(task.index, 0);
  options_of_.push_back(static_cast<std::uint32_t>(options_.size()));
}

Result<CompiledGraph> Graph::compile() && {
  return Compiler(std::move(*this)).compile();
}

}  // namespace pinion
