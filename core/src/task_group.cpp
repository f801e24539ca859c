#include <pinion/core/task_group.hpp>

#include <atomic>
#include <exception>

#include <pinion/core/detail/exception_status.hpp>
#include <pinion/core/thread_annotations.hpp>

#include "count_down.hpp"
#include "worker_thread.hpp"

namespace pinion {

struct TaskGroup::State {
  explicit State(CancelToken cancel_token) : cancel(std::move(cancel_token)) {}

  void add(TaskError error) PINION_EXCLUDES(mutex);
  std::vector<TaskError> take_new_errors() PINION_EXCLUDES(mutex);

  const CancelToken cancel;
  CountDown tasks;
  std::atomic<std::size_t> dropped_count = 0;
  std::vector<TaskError> errors;  // What the last wait() found; the waiting thread's.

  Mutex mutex;
  std::vector<TaskError> new_errors PINION_GUARDED_BY(mutex);
};

void TaskGroup::State::add(TaskError error) {
  const MutexLock lock(mutex);
  new_errors.push_back(std::move(error));
}

std::vector<TaskError> TaskGroup::State::take_new_errors() {
  const MutexLock lock(mutex);
  return std::exchange(new_errors, {});
}

TaskGroup::TaskGroup(Executor& executor, CancelToken cancel)
    : executor_(executor), state_(std::make_unique<State>(std::move(cancel))) {}

TaskGroup::~TaskGroup() {
  static_cast<void>(wait());
}

Status TaskGroup::wait() {
  PINION_ASSERT(!detail::inside_task());
  state_->tasks.wait();
  state_->errors = state_->take_new_errors();
  const std::size_t dropped = state_->dropped_count.exchange(0, std::memory_order_relaxed);
  if (!state_->errors.empty()) {
    const std::size_t count = state_->errors.size();
    std::string words = std::to_string(count) + (count == 1 ? " task failed" : " tasks failed");
    for (const TaskError& error : state_->errors) {
      words += (&error == &state_->errors.front() ? ": '" : "; '") + error.task +
               "': " + std::string(error.status.message());
    }
    return Status(state_->errors.front().status.code(), std::move(words));
  }
  if (dropped > 0) {
    return Status(ErrorCode::kCancelled, "the group was cancelled; " + std::to_string(dropped) +
                                             " of its tasks did not begin");
  }
  return {};
}

const std::vector<TaskError>& TaskGroup::errors() const noexcept {
  return state_->errors;
}

TaskGroup::Ticket::Ticket(State& state, const char* name) noexcept : state_(&state), name_(name) {
  state_->tasks.add();
}

bool TaskGroup::Ticket::begin() noexcept {
  if (!state_->cancel.cancelled()) {
    return true;
  }
  state_->dropped_count.fetch_add(1, std::memory_order_relaxed);  // Handed on by the count.
  return false;
}

void TaskGroup::Ticket::report(Status status) noexcept {
  if (!status.ok()) {
    state_->add({.task = name_, .status = std::move(status)});
  }
}

void TaskGroup::Ticket::report_exception() noexcept {
  const std::exception_ptr exception = std::current_exception();
  state_->add({.task = name_, .status = detail::status_of(exception), .exception = exception});
}

void TaskGroup::Ticket::give_back() noexcept {
  state_->tasks.drop();
}

}  // namespace pinion
