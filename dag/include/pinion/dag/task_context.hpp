#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <pinion/core/cancel.hpp>
#include <pinion/core/completion.hpp>
#include <pinion/core/status.hpp>
#include <pinion/dag/detail/task_body.hpp>
#include <pinion/dag/task.hpp>

namespace pinion {

class Graph;
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

  /// 1 and more.
  [[nodiscard]] std::uint32_t attempt() const noexcept;

  /// Whether somebody asked for the run to stop; a body that takes long asks now and then.
  [[nodiscard]] bool cancelled() const noexcept;

  /// For what a body calls, such as Executor::parallel_for().
  [[nodiscard]] CancelToken cancel_token() const noexcept;

  /// Cancels the run that the task is of.
  void cancel_run() noexcept;

  /// Compiles `graph` and starts it as a part of this run: its tasks count in the progress, are
  /// cancelled with the run, and their errors are errors of the run. This task ends when its body
  /// and all that it appended have ended; if one of those failed, so did it. May be called again,
  /// also by bodies of what was appended.
  /// Errors: those of Graph::compile() and CompiledGraph::run(); nothing was appended then.
  [[nodiscard]] Status append(Graph graph);

 private:
  friend class Graph;
  friend struct RunState;
  friend detail::BodyEnd detail::end_with(TaskContext& context, Status status);
  friend detail::BodyEnd detail::end_with(TaskContext& context, Completion completion);
  friend detail::BodyEnd detail::end_well(TaskContext& context);

  TaskContext() = default;

  template <class T>
  [[nodiscard]] const T& value(ValueTask<T> task) const noexcept {
    return detail::Value<T>::at(values_ + task.offset).value;
  }
  template <class T, class Make>
  void set_value(ValueTask<T> task, Make make) {
    std::byte* const memory = values_ + task.offset;
    detail::Value<T>::destroy(memory);  // Of an attempt that was too late.
    auto& value = detail::Value<T>::at(memory);
    ::new (static_cast<void*>(std::addressof(value.value))) T(make());
    value.present = true;
  }

  RunState* run_ = nullptr;
  std::uint32_t position_ = 0;
  std::byte* values_ = nullptr;
  Ending* ending_ = nullptr;  // Where what a body returned is put.
};

}  // namespace pinion
