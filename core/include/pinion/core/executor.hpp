#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// The workers of one place.
struct WorkerGroup {
  Place place = {};

  /// Operating-system numbers of the CPUs that the workers are bound to, one worker each in this
  /// order, again from the front when there are more workers. Empty: the workers are not bound.
  std::vector<unsigned> cpus = {};

  /// At least 1.
  std::size_t worker_count = 1;
};

struct ExecutorOptions {
  /// At least one; no place twice.
  std::vector<WorkerGroup> groups = {};
};

/// Where a worker was seen to run.
struct WorkerBinding {
  std::size_t worker = 0;
  Place place = {};
  std::vector<unsigned> cpus = {};  ///< The affinity mask that the system reports for its thread.
};

/// Runs tasks on pinned worker threads, one group of them a place. Workers are numbered from 0 over
/// all groups in the order of the options.
///
/// Thread safety: submit() may be called from any thread, also from inside a task.
/// Lifetime: the destructor runs what was accepted, then joins; it must not run inside a task.
class Executor {
 public:
  using Task = std::function<void()>;

  /// Errors: kInvalidArgument for options outside their stated range; kResourceExhausted when the
  ///   system has no more threads; kPermissionDenied for CPUs this process may not use.
  [[nodiscard]] static Result<std::unique_ptr<Executor>> create(const ExecutorOptions& options);
  ~Executor();

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Accepts `task` to run once, later, on a worker of `place`. Never runs it on the calling
  /// thread. Precondition: `task` does not throw. Errors: kInvalidArgument for a place that is not
  /// in the options.
  [[nodiscard]] Status submit(Place place, Task task);

  [[nodiscard]] std::size_t worker_count() const noexcept;
  [[nodiscard]] std::vector<WorkerGroup> groups() const;

  /// What the system says of each worker's thread. Blocks: until every worker has started once.
  [[nodiscard]] std::vector<WorkerBinding> bindings();

  /// The number of the worker that runs the calling task, or worker_count() on other threads.
  [[nodiscard]] std::size_t current_worker() const noexcept;

 private:
  struct State;
  explicit Executor(std::unique_ptr<State> state) noexcept;

  std::unique_ptr<State> state_;
};

}  // namespace pinion
