#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/core/cancel.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/detail/task.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// The workers of one place.
struct WorkerGroup {
  Place place = {};

  /// Operating-system numbers of the CPUs that the workers are bound to, one worker each in this
  /// order, again from the front when there are more workers. Empty: see shared_cpus.
  std::vector<unsigned> cpus = {};

  /// At least 1.
  std::size_t worker_count = 1;

  /// Operating-system numbers of the CPUs that every one of the workers is bound to, all of them,
  /// where `cpus` is empty. Empty as well: the workers are not bound.
  std::vector<unsigned> shared_cpus = {};

  /// How far each group of the options is from these workers, in the order of the groups and in any
  /// unit: what they pay for memory there. Only which is nearer matters, and the own one is not
  /// looked at. Empty: not known.
  std::vector<std::uint64_t> distances = {};
};

/// What a worker does when it finds no task.
enum class IdlePolicy : std::uint8_t {
  kSpin,          ///< Looks for ever: answers within a microsecond and uses up its CPU.
  kSpinThenPark,  ///< Looks for the spin window, then sleeps until it is called.
  kPark,          ///< Sleeps at once. Waking it takes tens of microseconds.
};

struct ExecutorOptions {
  /// At least one; no place twice.
  std::vector<WorkerGroup> groups = {};

  /// Tasks that can wait at one place, 2 to 2^20, rounded up to a power of two. 64 bytes each.
  std::size_t queue_capacity = 16384;

  IdlePolicy idle_policy = IdlePolicy::kSpinThenPark;

  /// For kSpinThenPark. Not negative.
  Duration spin_window = std::chrono::microseconds(100);
};

/// Where a worker was seen to run.
struct WorkerBinding {
  std::size_t worker = 0;
  Place place = {};
  std::vector<unsigned> cpus = {};  ///< The affinity mask that the system reports for its thread.

  /// kFailedPrecondition if ever since the executor was made a thread came in as this worker and
  /// was not bound as its group says: in words, of the first time.
  Status status = {};
};

/// The rare events of an executor since it was made. All of them stand still under a steady load.
struct ExecutorEvents {
  std::uint64_t call_count = 0;   ///< An idle worker was called to the queue of its place.
  std::uint64_t leave_count = 0;  ///< A worker left an empty queue, to sleep.
  std::uint64_t yield_count = 0;  ///< A worker left a queue for parallel_for().
  std::uint64_t full_count = 0;   ///< A submit() found its queue full.

  /// A thread came in as a worker and was not bound as its group says: see WorkerBinding::status.
  std::uint64_t misbound_count = 0;

  friend bool operator==(const ExecutorEvents&, const ExecutorEvents&) = default;
};

/// The indices from `begin` up to `end`, which is not one of them.
struct IndexRange {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Where a body of a loop threw.
struct BulkError {
  IndexRange at = {};                 ///< Its index, or its range where it takes those.
  Status status = {};                 ///< kUnknown with what().
  std::exception_ptr exception = {};  ///< What it threw. Not null.
};

struct BulkOptions {
  /// Ranges of this many indices or fewer are not cut further. At least 1. The default suits bodies
  /// of 10 ns and more, as ranges are cut only while workers have nothing to do.
  std::size_t grain = 1;

  CancelToken cancel = {};

  /// Becomes what was thrown, in the order in which it happened, unless null: all of it, or where
  /// memory is short at least what came first. Borrowed for the call.
  std::vector<BulkError>* errors = nullptr;
};

namespace detail {

class BulkErrors;

// Notes the exception that is being handled.
void note_exception(BulkErrors& errors, IndexRange at) noexcept;

// A loop's body without its type: runs the indices of one range on one worker. False: it threw, and
// that was noted.
struct BulkBody {
  void* object = nullptr;
  bool (*run)(void* object, IndexRange range, const CancelToken& cancel,
              BulkErrors& errors) = nullptr;
};

}  // namespace detail

/// Runs tasks and loops on pinned worker threads, one group of them a place.
///
///     auto executor = Executor::create({.groups = {{.worker_count = 4}}}).value();
///     Status status = executor->submit({}, [] { std::puts("on a worker"); });
///     std::vector<double> roots(1'000'000);
///     status = executor->parallel_for({0, roots.size()},
///                                     [&](std::size_t i) { roots[i] = std::sqrt(i); });
///
/// Workers are numbered from 0 over all groups in the order of the options. Every worker can run
/// one task while all others do: tasks may be loops that stay. A worker takes one task, runs it,
/// and only then takes the next. TaskGroup waits for tasks and collects their errors.
///
/// Once it has started, submitting and running take no lock and allocate nothing, but for callables
/// over 48 bytes and for calling workers that sleep or were busy with a loop.
///
/// Thread safety: all members may be called from any thread, also from inside a task.
/// Lifetime: the destructor runs what was accepted, then joins; it must not run inside a task.
class Executor {
 public:
  /// Blocks: until every worker has started and is bound, tens of microseconds each.
  /// Errors: kInvalidArgument for options outside their stated range; kResourceExhausted when the
  ///   system has no more threads; kPermissionDenied for CPUs this process may not use;
  ///   kFailedPrecondition when the system does not keep a worker to its CPUs.
  [[nodiscard]] static Result<std::unique_ptr<Executor>> create(const ExecutorOptions& options);
  ~Executor();

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Accepts `callable` to run once, later, on a worker of `place`; never runs it on the calling
  /// thread before it returns. Tasks of a place start in the order of their submit(), as soon as a
  /// worker is free and no parallel_for() wants it. Allocates if the callable is larger than 48
  /// bytes, is aligned beyond 8, or may throw when it is moved.
  /// Blocks: while the queue of the place is full. A worker works meanwhile: it runs other tasks of
  ///   its own place inside this call, nested up to 64 deep.
  /// Precondition: `callable` does not throw. Tasks that do belong in a TaskGroup.
  /// Errors: kInvalidArgument for a place that is not in the options; kResourceExhausted when the
  ///   queue is full and the calling worker is 64 deep in others' tasks. The callable is gone then.
  template <std::invocable F>
  [[nodiscard]] Status submit(Place place, F&& callable) {
    return submit_callable(place, std::forward<F>(callable), FullQueue::kWait);
  }

  /// As submit(), but answers kResourceExhausted at once when the queue is full.
  template <std::invocable F>
  [[nodiscard]] Status try_submit(Place place, F&& callable) {
    return submit_callable(place, std::forward<F>(callable), FullQueue::kRefuse);
  }

  /// Calls `body(i)` for each index of the range, or `body(IndexRange)` for pieces that cover it,
  /// concurrently on the workers of `place`, before submitted tasks that wait. The calling thread
  /// takes part if it is one of them. May be nested: a worker that waits for an inner loop takes
  /// part in that one only. A body that throws ends the loop: the indices that have not begun are
  /// given up, and what others threw meanwhile is collected too, at most one exception a worker.
  /// Blocks: until all is done, or given up; a caller outside also waits for a worker to be free.
  /// Errors: kInvalidArgument for a place that is not in the options, a range that ends before it
  ///   begins, or grain 0; kUnknown when bodies threw, in words that name each index, or range,
  ///   and its exception; kCancelled when the token was, or a loop around this one has ended
  ///   early, so that indices may not have run; kFailedPrecondition on a worker of another place,
  ///   which would only wait.
  template <class Body>
  [[nodiscard]] Status parallel_for(Place place, IndexRange range, Body&& body,
                                    const BulkOptions& options = {}) {
    return run_bulk(&place, range, erase(body), options);
  }

  /// The same on the workers of all places. Each place begins with its part of the range, in the
  /// order of the groups and in proportion to their workers, and helps the others at the end, the
  /// nearest first (WorkerGroup::distances), and of those that are as near the next in the order.
  template <class Body>
  [[nodiscard]] Status parallel_for(IndexRange range, Body&& body,
                                    const BulkOptions& options = {}) {
    return run_bulk(nullptr, range, erase(body), options);
  }

  /// Workers that sleep wake for kSpin at once; the others notice within microseconds.
  void set_idle_policy(IdlePolicy policy) noexcept;

  [[nodiscard]] std::size_t worker_count() const noexcept;
  [[nodiscard]] std::vector<WorkerGroup> groups() const;

  /// What the system says of each worker's thread. Blocks: until every worker has started once.
  [[nodiscard]] std::vector<WorkerBinding> bindings();

  /// The number of the worker that runs the calling task, or worker_count() on other threads.
  [[nodiscard]] std::size_t current_worker() const noexcept;

  /// A snapshot. Its figures belong to slightly different moments while tasks run.
  [[nodiscard]] ExecutorEvents events() const noexcept;

 private:
  struct State;
  enum class FullQueue : std::uint8_t { kWait, kRefuse };

  explicit Executor(std::unique_ptr<State> state) noexcept;
  template <class F>
  Status submit_callable(Place place, F&& callable, FullQueue full);
  Status submit_task(Place place, detail::TaskSource task, FullQueue full);
  Status run_bulk(const Place* place, IndexRange range, detail::BulkBody body,
                  const BulkOptions& options);

  template <class Body>
  static detail::BulkBody erase(Body& body);

  std::unique_ptr<State> state_;
};

template <class F>
Status Executor::submit_callable(Place place, F&& callable, FullQueue full) {
  if constexpr (detail::TaskSource::kTakes<F>) {
    return submit_task(place, detail::TaskSource::of(std::forward<F>(callable)), full);
  } else {
    detail::Task task(std::forward<F>(callable));
    return submit_task(place, detail::TaskSource::of(std::move(task)), full);
  }
}

template <class Body>
detail::BulkBody Executor::erase(Body& body) {
  static_assert(std::invocable<Body&, std::size_t> || std::invocable<Body&, IndexRange>,
                "a body takes an index or an IndexRange");
  // The body may be const; its own type is put back before it is called.
  void* const object = const_cast<void*>(static_cast<const void*>(std::addressof(body)));
  return {.object = object,
          .run = [](void* erased, IndexRange range, [[maybe_unused]] const CancelToken& cancel,
                    detail::BulkErrors& errors) {
            Body& typed = *static_cast<Body*>(erased);
            constexpr bool kByIndex = std::invocable<Body&, std::size_t>;
            std::size_t i = range.begin;
            try {
              if constexpr (!kByIndex) {
                typed(range);
              } else if (!cancel.can_be_cancelled()) {
                for (; i < range.end; ++i) {
                  typed(i);
                }
              } else {
                for (; i < range.end && !cancel.cancelled(); ++i) {
                  typed(i);
                }
              }
            } catch (...) {
              detail::note_exception(errors,
                                     kByIndex ? IndexRange{.begin = i, .end = i + 1} : range);
              return false;
            }
            return true;
          }};
}

}  // namespace pinion
