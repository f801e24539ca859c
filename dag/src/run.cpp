#include <pinion/dag/run.hpp>

#include <utility>

#include <pinion/core/assert.hpp>

#include "run_state.hpp"

namespace pinion {

Run& Run::operator=(Run&& other) noexcept {
  if (this != &other) {
    end();
    state_ = std::exchange(other.state_, nullptr);
  }
  return *this;
}

Run::~Run() {
  end();
}

void Run::end() noexcept {
  if (state_ == nullptr) {
    return;
  }
  if (!state_->completion->ready()) {
    // A worker that waited for its own task would wait for ever.
    PINION_ASSERT(!state_->on_worker());
    state_->completion->wait();
  }
  std::exchange(state_, nullptr)->drop_reference();
}

Status Run::wait() const {
  if (!state_->completion->ready()) {
    if (state_->on_worker()) {
      return Status(ErrorCode::kFailedPrecondition,
                    "a task of the executor waits for a run on the same executor, which would lose "
                    "a worker; use the run's completion()");
    }
    state_->completion->wait();
  }
  return state_->completion->status();
}

bool Run::wait_for(Duration duration) const {
  return state_->completion->ready() ||
         (!state_->on_worker() && state_->completion->wait_until(SystemClock().now() + duration));
}

const Completion& Run::completion() const noexcept {
  return *state_->completion;
}

void Run::cancel() const noexcept {
  state_->cancel();
}

void Run::cancel(TaskId task) const {
  PINION_ASSERT(task.index < state_->tables->task_count());
  state_->cancel(state_->tables->position_of[task.index]);
}

RunProgress Run::progress() const noexcept {
  return state_->progress();
}

TaskState Run::state(TaskId task) const {
  PINION_ASSERT(task.index < state_->tables->task_count());
  const bool ended = state_->completion->ready();
  if (ended && state_->dropped_count > 0) {
    state_->settle_dropped();
  }
  TaskState state = TaskState::kOpen;
  if (const Outcomes* const known = state_->outcomes_made.load(std::memory_order_acquire)) {
    state = known->states[state_->tables->position_of[task.index]].load(std::memory_order_relaxed);
  }
  return state == TaskState::kOpen && ended ? TaskState::kDone : state;
}

TaskId Run::cause(TaskId task) const {
  if (state(task) != TaskState::kSkipped) {
    return task;
  }
  const Tables& tables = *state_->tables;
  const Outcomes& known = *state_->outcomes_made.load(std::memory_order_acquire);
  return {
      tables.task_of[known.causes[tables.position_of[task.index]].load(std::memory_order_relaxed)]};
}

const std::vector<TaskError>& Run::errors() const noexcept {
  PINION_ASSERT(state_->completion->ready());
  return state_->errors;
}

const std::vector<CompensationRecord>& Run::compensations() const noexcept {
  PINION_ASSERT(state_->completion->ready());
  return state_->compensations;
}

std::byte* Run::value_memory(TaskId task) const noexcept {
  // What a task that did not end well would have returned is not there.
  PINION_ASSERT(state(task) == TaskState::kDone && state_->completion->ready());
  return state_->values.get();
}

}  // namespace pinion
