#include <pinion/dag/graph.hpp>

#include <algorithm>
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

// Values begin where no one else's line of the cache does only if they ask for that.
std::uint32_t Graph::add_value(std::size_t size, std::size_t alignment,
                               void (*destroy)(std::byte* at) noexcept) {
  const std::size_t offset = (values_size_ + alignment - 1) / alignment * alignment;
  // 4 GiB of values in one run are a mistake: what is large is held by pointer.
  PINION_ASSERT(offset + size <= UINT32_MAX);
  values_.push_back({.task = static_cast<std::uint32_t>(tasks_.size()),
                     .offset = static_cast<std::uint32_t>(offset),
                     .destroy = destroy});
  values_size_ = static_cast<std::uint32_t>(offset + size);
  return static_cast<std::uint32_t>(offset);
}

void Graph::check_input(TaskId task, std::uint32_t offset,
                        void (*destroy)(std::byte* at) noexcept) const {
  const auto slot = std::lower_bound(
      values_.begin(), values_.end(), task.index,
      [](const detail::ValueSlot& one, std::uint32_t index) { return one.task < index; });
  PINION_ASSERT(slot != values_.end() && slot->task == task.index);
  PINION_ASSERT(slot->offset == offset && slot->destroy == destroy);
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
