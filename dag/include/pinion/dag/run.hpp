#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/completion.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/task_group.hpp>
#include <pinion/dag/task.hpp>

namespace pinion {

struct RunState;

enum class TaskState : std::uint8_t {
  kOpen,       ///< It has not ended, as far as is known.
  kDone,       ///< It ended well.
  kFailed,     ///< errors() has its error.
  kSkipped,    ///< Something that must end well before it did not.
  kCancelled,  ///< It had not begun when it was cancelled.
};

struct RunProgress {
  std::uint64_t task_count = 0;
  std::uint64_t ended_count = 0;  ///< Whatever the outcome. May lag while the run goes on.
};

/// One execution of a CompiledGraph. Movable, not copyable.
///
/// Thread safety: wait(), wait_for(), completion(), cancel(), progress() and state() from any
///   thread; errors() once the run has ended.
/// Lifetime: the destructor waits for the end of the run.
class Run {
 public:
  Run(Run&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Run& operator=(Run&& other) noexcept;
  ~Run();

  /// Success if every task ended well; else the code of the first error and words that name each
  /// failed task; kCancelled if tasks were cancelled and none failed.
  /// Blocks: until every task has ended or been skipped.
  /// Errors: besides, kFailedPrecondition inside a task of the run's executor, whose worker would
  ///   be lost; use completion() there.
  [[nodiscard]] Status wait() const;

  /// Whether it ended within `duration`. Blocks: that long. Errors: none; false inside a task.
  [[nodiscard]] bool wait_for(Duration duration) const;

  /// Signalled with the status of wait() when the run has ended.
  [[nodiscard]] const Completion& completion() const noexcept;

  /// No task begins any more; bodies that run are asked to stop by their context. The run ends when
  /// they have.
  void cancel() const noexcept;

  /// This task and its descendants do not begin any more.
  void cancel(TaskId task) const;

  [[nodiscard]] RunProgress progress() const noexcept;

  /// Exact once the run has ended. Before that kDone is not known, and kOpen.
  [[nodiscard]] TaskState state(TaskId task) const;

  /// For a skipped task, the failed or cancelled one that is the cause; the task itself otherwise.
  [[nodiscard]] TaskId cause(TaskId task) const;

  /// All failures, in the order in which they happened. Precondition: the run has ended.
  [[nodiscard]] const std::vector<TaskError>& errors() const noexcept;

 private:
  friend class CompiledGraph;
  explicit Run(RunState* state) noexcept : state_(state) {}
  void end() noexcept;

  RunState* state_;
};

}  // namespace pinion
