#pragma once

#include <cstdint>

#include <pinion/core/cancel.hpp>
#include <pinion/dag/detail/task_body.hpp>
#include <pinion/dag/task.hpp>

namespace pinion {

struct Ending;
struct RunState;

/// What a body may ask about the task that it is, and the run.
///
/// Thread safety: none. Lifetime: the call of the body.
class TaskContext {
 public:
  TaskContext(const TaskContext&) = delete;
  TaskContext& operator=(const TaskContext&) = delete;

  [[nodiscard]] TaskId task() const noexcept;

  /// Whether somebody asked for the run to stop; a body that takes long asks now and then.
  [[nodiscard]] bool cancelled() const noexcept;

  /// For what a body calls, such as Executor::parallel_for().
  [[nodiscard]] CancelToken cancel_token() const noexcept;

  /// Cancels the run that the task is of.
  void cancel_run() noexcept;

 private:
  friend struct RunState;
  friend detail::BodyEnd detail::end_with(TaskContext& context, Status status);

  TaskContext() = default;

  RunState* run_ = nullptr;
  std::uint32_t position_ = 0;
  Ending* ending_ = nullptr;  // Where what a body returned is put.
};

}  // namespace pinion
