#include <pinion/dag/compiled_graph.hpp>

#include <utility>

#include <pinion/core/assert.hpp>

#include "run_state.hpp"
#include "tables.hpp"

namespace pinion {

Tables::Tables() = default;
Tables::~Tables() = default;

std::string Tables::name_of(std::uint32_t task) const {
  const std::uint32_t index = task < options_of.size() ? options_of[task] : 0;
  return index > 0 && !options[index - 1].name.empty() ? options[index - 1].name
                                                       : "task " + std::to_string(task);
}

std::unique_ptr<RunState> Tables::take_state() {
  {
    const MutexLock lock(mutex);
    if (!spare.empty()) {
      std::unique_ptr<RunState> state = std::move(spare.back());
      spare.pop_back();
      return state;
    }
  }
  return std::make_unique<RunState>(*this);
}

void Tables::give_back(std::unique_ptr<RunState> state) noexcept {
  const MutexLock lock(mutex);
  spare.push_back(std::move(state));
}

Result<Run> CompiledGraph::run(Executor& executor, const RunOptions& options) const {
  RunState* const state = tables_->take_state().release();
  Run run(state);
  if (Status status = state->begin(tables_, executor, options); !status.ok()) {
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

}  // namespace pinion
