#include <pinion/dag/task_context.hpp>

#include <utility>

#include <pinion/dag/graph.hpp>

#include "run_state.hpp"

namespace pinion {

TaskId TaskContext::task() const noexcept {
  return {run_->tables->task_of[position_]};
}

std::uint32_t TaskContext::attempt() const noexcept {
  return run_->attempt_of(position_);
}

bool TaskContext::cancelled() const noexcept {
  return run_->is_cancelled();
}

CancelToken TaskContext::cancel_token() const noexcept {
  return run_->cancel_source->token();
}

void TaskContext::cancel_run() noexcept {
  run_->root->cancel();
}

Status TaskContext::append(Graph graph) {
  return run_->append(position_, std::move(graph), *ending_);
}

namespace detail {

BodyEnd end_with(TaskContext& context, Status status) {
  context.ending_->status = std::move(status);
  return BodyEnd::kFailed;
}

BodyEnd end_with(TaskContext& context, Completion completion) {
  context.ending_->completions.push_back(std::move(completion));
  return BodyEnd::kHeld;
}

BodyEnd end_well(TaskContext& context) {
  return context.ending_->completions.empty() ? BodyEnd::kDone : BodyEnd::kHeld;
}

}  // namespace detail
}  // namespace pinion
