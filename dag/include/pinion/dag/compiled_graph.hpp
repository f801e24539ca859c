#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <pinion/core/executor.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/timer.hpp>
#include <pinion/core/trace.hpp>
#include <pinion/dag/run.hpp>
#include <pinion/dag/task.hpp>

namespace pinion {

struct Tables;

enum class OnFailure : std::uint8_t {
  kGoOn,  ///< Descendants of the failed task are skipped, all others run.
  kStop,  ///< Nothing begins after the first failure.
};

struct RunOptions {
  OnFailure on_failure = OnFailure::kGoOn;

  /// Of what is drawn for retries, and of the attempt ids of compensations.
  std::uint64_t seed = 0;

  /// For back-off and limits of time; tasks that have some need it. It outlives the run.
  ITimer* timer = nullptr;

  /// Gets a span for each attempt, under the number of its worker. A span begins where the one
  /// before on its track ended, when nothing lies between; so it may begin, by what counting takes,
  /// before a span of another track ended that it waited for. It outlives the run, and is written
  /// while the graph lives, whose names it shows.
  Trace* trace = nullptr;

  /// Makes Run::state() exact while the run goes on. Costs some nanoseconds a task.
  bool record_states = false;
};

/// A graph that can run: immutable, any number of times, several times at once. Copies are the same
/// graph. What a run needs besides is kept for the next one when it has ended.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: runs keep what they need of it; the handle may go first, even in a body.
class CompiledGraph {
 public:
  /// Starts a run on the workers of `executor`. At most all workers take part, and each goes back
  /// to other work of the executor every millisecond or so.
  /// Order: what the edges ask for. Beyond that, the runs of a graph go the way that is fastest for
  ///   it; RunProgress has that of a run. On one worker all tasks run in one order, depth first, so
  ///   that data are still in the cache. On several, a first run counts which tasks are ready; they
  ///   are taken newest first, and a worker that has none takes the oldest of another. The next few
  ///   try whether it is faster to go through the graph level by level, where levels are wide, or
  ///   to leave tasks of some nanoseconds to one worker; then the graph keeps to the best. Tasks
  ///   with priorities or places are always counted.
  /// Precondition: no body waits for what that of another task does, unless edges put that before
  ///   it. One worker may have been given both, and then the run never ends. A task that waits for
  ///   somebody returns a Completion, which holds no worker.
  /// Lifetime: the executor outlives the run.
  /// Errors: kInvalidArgument when a task has a place that the executor has not, or needs a timer
  ///   and the options have none; kResourceExhausted when the executor's queue takes nothing more.
  [[nodiscard]] Result<Run> run(Executor& executor, const RunOptions& options = {}) const;

  [[nodiscard]] std::size_t task_count() const noexcept;

  /// "task N" for one without a name. Precondition: the task is one of the graph's.
  [[nodiscard]] std::string name(TaskId task) const;

  /// The graph in the language of Graphviz, for `dot -Tsvg`.
  [[nodiscard]] std::string to_dot() const;

 private:
  friend class Compiler;
  friend struct RunState;
  friend struct WaysForTests;
  explicit CompiledGraph(std::shared_ptr<Tables> tables) noexcept : tables_(std::move(tables)) {}

  std::shared_ptr<Tables> tables_;
};

}  // namespace pinion
