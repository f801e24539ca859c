#include <pinion/dag/compiled_graph.hpp>

#include <utility>

#include <pinion/core/assert.hpp>

#include "run_state.hpp"
#include "tables.hpp"

namespace pinion {
namespace {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
    }
    result += c;
  }
  return result + "\"";
}

}  // namespace

Tables::Tables() = default;
Tables::~Tables() = default;

std::string Tables::name_of(std::uint32_t task) const {
  const std::string& name = options_of_task(task).name;
  return name.empty() ? "task " + std::to_string(task) : name;
}

const TaskOptions& Tables::options_of_task(std::uint32_t task) const noexcept {
  static const TaskOptions none;
  const std::uint32_t index = task < options_of.size() ? options_of[task] : 0;
  return index > 0 ? options[index - 1] : none;
}

std::unique_ptr<RunState> Tables::take_state() {
  std::unique_ptr<RunState> state;
  {
    const MutexLock lock(mutex);
    if (!spare.empty()) {
      state = std::move(spare.back());
      spare.pop_back();
    }
  }
  if (state == nullptr) {
    return std::make_unique<RunState>(*this);
  }
  if (state->needs_arming) {
    state->arm(*this);
  }
  return state;
}

void Tables::give_back(std::unique_ptr<RunState> state) noexcept {
  const MutexLock lock(mutex);
  spare.push_back(std::move(state));
}

Result<Run> CompiledGraph::run(Executor& executor, const RunOptions& options) const {
  RunState* const state = tables_->take_state().release();
  Run run(state);
  if (Status status = state->begin(tables_, executor, options, /*parent=*/nullptr); !status.ok()) {
    run.state_ = nullptr;
    state->drop_reference();
    return status;
  }
  return run;
}

std::size_t CompiledGraph::task_count() const noexcept {
  return tables_->task_count();
}

std::string CompiledGraph::name(TaskId task) const {
  PINION_ASSERT(task.index < tables_->task_count());
  return tables_->name_of(task.index);
}

std::string CompiledGraph::to_dot() const {
  const Tables& tables = *tables_;
  std::string text = "digraph {\n";
  for (std::uint32_t task = 0; task < tables.task_count(); ++task) {
    text += "  " + std::to_string(task) + " [label=" + quoted(tables.name_of(task)) + "]\n";
  }
  for (std::uint32_t task = 0; task < tables.task_count(); ++task) {
    const std::uint32_t position = tables.position_of[task];
    const TaskRecord& record = tables.records[position];
    const std::string before = "  " + std::to_string(task) + " -> ";
    if (record.chained()) {
      text += before + std::to_string(tables.task_of[position + 1]) + "\n";
    }
    for (std::uint32_t i = record.first_successor; i < tables.records[position + 1].first_successor;
         ++i) {
      text += before + std::to_string(tables.task_of[tables.successors[i] & ~kMark]) + "\n";
    }
  }
  return text + "}\n";
}

}  // namespace pinion
