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
#include <pinion/dag/detail/task_body.hpp>
#include <pinion/dag/task.hpp>

namespace pinion {

struct RunState;

enum class TaskState : std::uint8_t {
  kOpen,       ///< It has not ended, as far as is known.
  kRunning,    ///< Known only to runs that record states. It may wait for a Completion or a retry.
  kDone,       ///< It ended well.
  kFailed,     ///< errors() has its error.
  kSkipped,    ///< Something that must end well before it did not.
  kCancelled,  ///< It had not begun when it, or all of its run, was cancelled.
};

/// How a run finds out which tasks may begin: see CompiledGraph::run().
enum class RunWay : std::uint8_t {
  kCounting,  ///< A task that ends counts down its successors; whoever is free takes what is ready.
  kWaves,     ///< Levels follow each other; the workers share each level.
  kSweep,     ///< One worker runs all, in the order of the compiled graph.
};

struct RunProgress {
  std::uint64_t task_count = 0;   ///< With those of appended graphs, once they were appended.
  std::uint64_t ended_count = 0;  ///< Whatever the outcome. May lag while the run goes on.

  /// How the run goes; at its end, how it went. One that began in another way counts from when a
  /// task did not just end well, or when it takes much longer than runs before.
  RunWay way = RunWay::kCounting;
};

/// What became of the compensation of one task.
struct CompensationRecord {
  TaskId task = {};
  std::string name = {};
  std::uint64_t attempt_id = 0;
  std::uint32_t call_count = 0;
  Status status = {};  ///< What the last call came to.
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

  /// No task begins any more, retries are given up, and bodies that run are asked to stop by their
  /// context. The run ends when they have, and what Completions they wait for, however many tasks
  /// had not begun: nobody goes through them. The next run of the graph does, some nanoseconds
  /// each.
  void cancel() const noexcept;

  /// This task, if it has not begun, and its descendants do not begin any more.
  void cancel(TaskId task) const;

  [[nodiscard]] RunProgress progress() const noexcept;

  /// Exact once the run has ended, and always if RunOptions::record_states is set. Else kDone is
  /// not known before the end, and kOpen. After cancel(), the first to ask when the run has ended
  /// goes through the whole graph, some nanoseconds a task.
  [[nodiscard]] TaskState state(TaskId task) const;

  /// For a skipped task, the failed or cancelled one that is the cause; the task itself otherwise.
  [[nodiscard]] TaskId cause(TaskId task) const;

  /// All failures, in the order in which they happened. Precondition: the run has ended.
  [[nodiscard]] const std::vector<TaskError>& errors() const noexcept;

  /// What was compensated, in the order of the calls; one entry a task. Empty when the run ended
  /// well. Precondition: the run has ended.
  [[nodiscard]] const std::vector<CompensationRecord>& compensations() const noexcept;

  /// What the body returned. Lifetime: this object.
  /// Precondition: the run has ended, and state(task) is kDone.
  template <class T>
  [[nodiscard]] const T& value(ValueTask<T> task) const noexcept {
    return detail::Value<T>::at(value_memory(task.id) + task.offset).value;
  }

 private:
  friend class CompiledGraph;
  friend struct RunState;
  explicit Run(RunState* state) noexcept : state_(state) {}
  void end() noexcept;
  [[nodiscard]] std::byte* value_memory(TaskId task) const noexcept;

  RunState* state_;
};

}  // namespace pinion
