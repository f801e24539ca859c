#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include <pinion/core/executor.hpp>
#include <pinion/core/status.hpp>
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
};

/// A graph that can run: immutable, any number of times, several times at once. Copies are the same
/// graph. What a run needs besides is kept for the next one when it has ended.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: runs keep what they need of it; the handle may go first, even in a body.
class CompiledGraph {
 public:
  /// Starts a run on the workers of `executor`. Tasks of a run are taken newest first, so that data
  /// are still in the cache; a worker that has none takes the oldest of another. At most all
  /// workers take part, and each goes back to other work of the executor every millisecond or so.
  /// Lifetime: the executor outlives the run.
  /// Errors: kResourceExhausted when the executor's queue is full and takes nothing more.
  [[nodiscard]] Result<Run> run(Executor& executor, const RunOptions& options = {}) const;

  [[nodiscard]] std::size_t task_count() const noexcept;

  /// "task N" for one without a name. Precondition: the task is one of the graph's.
  [[nodiscard]] std::string name(TaskId task) const;

 private:
  friend class Compiler;
  explicit CompiledGraph(std::shared_ptr<Tables> tables) noexcept : tables_(std::move(tables)) {}

  std::shared_ptr<Tables> tables_;
};

}  // namespace pinion
