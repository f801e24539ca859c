#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include <pinion/core/cancel.hpp>
#include <pinion/core/completion.hpp>
#include <pinion/core/executor.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/task_group.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/dag/compiled_graph.hpp>
#include <pinion/dag/run.hpp>
#include <pinion/dag/task_context.hpp>

#include "lane.hpp"
#include "tables.hpp"

namespace pinion {

/// What a body left behind that did not end well, or has not ended.
struct Ending {
  Status status = {};
  std::exception_ptr exception = {};
};

/// What the tasks of a run came to, where it is not kDone. By position.
struct Outcomes {
  explicit Outcomes(std::size_t task_count)
      : states(std::make_unique<std::atomic<TaskState>[]>(task_count)),
        causes(std::make_unique<std::atomic<std::uint32_t>[]>(task_count)) {}

  std::unique_ptr<std::atomic<TaskState>[]> states;      ///< kOpen: nothing is known.
  std::unique_ptr<std::atomic<std::uint32_t>[]> causes;  ///< For kSkipped.
};

/// One execution. It belongs to the Run and to each of its visits to the executor; the last one of
/// them gives it back to the tables, armed.
///
/// A lane is one strand of the execution: a list of ready tasks, and a slot in which it offers the
/// older half of them. A worker enters a free lane (a visit), and leaves it when no lane has work,
/// or after a time, so that other tasks of the executor have their turn; then the visit goes on
/// later, on any worker.
struct RunState {
  struct alignas(64) Lane {
    std::atomic<bool> taken = false;  ///< A visit is in it, or will go on in it.
    std::uint32_t index = 0;
    ReadyList ready;
    TaskContext context;
    Ending ending;
    std::uint64_t skipped_count = 0;    ///< Of kSkipped and kCancelled.
    std::uint32_t tasks_per_look = 16;  ///< Tasks between two looks at the clock.
    Instant begin = {};                 ///< Of the visit.
    Instant looked = {};                ///< The last look at the clock.
    OfferSlot<> slot;
  };

  /// What the loop reads, without a way round.
  struct View {
    TaskRecord* records;
    const std::uint32_t* successors;
    std::atomic<std::uint32_t>* counters;
  };

  // Bits of `flags`: why a task may not just be run.
  static constexpr std::uint32_t kCancelled = 1;
  static constexpr std::uint32_t kSomeCancelled = 2;

  explicit RunState(const Tables& tables);

  /// Precondition: nothing else uses it.
  Status begin(std::shared_ptr<Tables> tables, Executor& executor, const RunOptions& options);

  void add_reference() noexcept { references.fetch_add(1, std::memory_order_relaxed); }
  void drop_reference() noexcept;

  [[nodiscard]] bool on_worker() const noexcept {
    return executor->current_worker() != executor->worker_count();
  }

  void cancel() noexcept;
  void cancel(std::uint32_t position) PINION_EXCLUDES(mutex);

  // The loop, in run_loop.cpp.
  Status call_helper(bool wait_if_full);
  void visit(Lane* lane) noexcept;
  template <bool kAlone>
  bool work(Lane& lane) noexcept;
  template <bool kAlone>
  static std::uint32_t release_successors(const View& view, Lane& lane, const TaskRecord& record,
                                          std::uint32_t position) noexcept;
  static void prefetch_successors(const View& view, const TaskRecord& record) noexcept;
  detail::BodyEnd run_task(Lane& lane, TaskRecord& record, std::uint32_t position) noexcept;
  bool find_work(Lane& lane) noexcept;
  bool claim_roots(Lane& lane) noexcept;
  bool look_at_slots(Lane& lane) noexcept;
  bool wait_for_offer(Lane& lane) noexcept;
  bool end_tasks(std::uint64_t count) noexcept;
  bool time_is_over(Lane& lane) noexcept;
  void offer(Lane& lane) noexcept;
  Lane* enter_free_lane() noexcept;

  // What is rare, in run_state.cpp.
  detail::BodyEnd begin_rare(Lane& lane, TaskRecord& record, std::uint32_t entry) noexcept;
  void end_rare(Lane& lane, std::uint32_t position, detail::BodyEnd end) noexcept;
  void fail(std::uint32_t position, Ending ending) noexcept PINION_EXCLUDES(mutex);
  void skip_successors(Lane& lane, std::uint32_t position) noexcept;
  Outcomes& outcomes() noexcept PINION_EXCLUDES(mutex);
  void finish() noexcept PINION_EXCLUDES(mutex);
  Status final_status() PINION_EXCLUDES(mutex);
  void rearm() noexcept PINION_EXCLUDES(mutex);

  std::shared_ptr<Tables> tables = {};  ///< While in use, else null.
  Executor* executor = nullptr;
  RunOptions options = {};
  std::vector<Place> places = {};
  std::vector<std::unique_ptr<Lane>> lanes = {};
  std::unique_ptr<std::atomic<std::uint32_t>[]> counters;
  std::optional<CompletionSource> source = {};
  std::optional<Completion> completion = {};
  std::optional<CancelSource> cancel_source = {};

  alignas(64) std::atomic<std::uint32_t> flags = 0;
  alignas(64) std::atomic<std::uint32_t> references = 0;
  alignas(64) std::atomic<std::uint32_t> next_root = 0;
  std::atomic<std::uint32_t> next_place = 0;
  HelperCalls<> helper_calls;
  OpenTasks<> open_tasks;

  Mutex mutex;
  std::vector<TaskError> errors;  // Written under the mutex, read after the end.
  std::atomic<Outcomes*> outcomes_made = nullptr;
  std::unique_ptr<Outcomes> outcomes_owner PINION_GUARDED_BY(mutex) = {};
  std::atomic<std::atomic<bool>*> cancelled_made = nullptr;
  std::unique_ptr<std::atomic<bool>[]> cancelled_owner PINION_GUARDED_BY(mutex) = {};
};

}  // namespace pinion
