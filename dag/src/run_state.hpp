#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <unordered_map>
#include <utility>
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
#include "visit.hpp"
#include "wave.hpp"
#include "way_choice.hpp"

namespace pinion {

/// What a body left behind that did not end well, or has not ended.
struct Ending {
  Status status = {};
  std::exception_ptr exception = {};
  std::vector<Completion> completions = {};  ///< The task ends when all are signalled.
  std::vector<Run*> appended = {};           ///< Whose completions are among them.
};

/// What the tasks of a run came to, as far as it is known. By position.
struct Outcomes {
  explicit Outcomes(std::size_t task_count)
      : states(std::make_unique<std::atomic<TaskState>[]>(task_count)),
        causes(std::make_unique<std::atomic<std::uint32_t>[]>(task_count)) {}

  std::unique_ptr<std::atomic<TaskState>[]> states;      ///< kOpen: nothing is known.
  std::unique_ptr<std::atomic<std::uint32_t>[]> causes;  ///< For kSkipped.
};

/// A task that was begun before, or whose end does not depend on a worker.
struct BegunTask {
  std::uint32_t attempt_count = 0;
  Instant first_begin = {};
  Instant begin = {};        ///< Of this attempt.
  std::uint64_t ticket = 0;  ///< Not 0: what ends the wait must show it.
  bool runs_again = false;   ///< After the wait, which is for a retry.
  Ending ending = {};        ///< Of the last attempt, once it has ended.
};

/// One execution. It belongs to the Run, to each of its visits to the executor, and to whatever
/// will call back; the last one of them gives it back to the tables, armed.
///
/// A lane is one strand of the execution: a list of ready tasks, and a slot in which it offers the
/// older half of them. A worker enters a free lane (a visit), and leaves it when no lane has work,
/// or after a time, so that other tasks of the executor have their turn; then the visit goes on
/// later, on any worker.
struct RunState {
  struct alignas(64) Lane {
    LaneDoor<> door;  ///< Shut: a visit is in it, or will go on in it.
    std::uint32_t index = 0;
    std::uint32_t place = 0;  ///< Of the visit, by its index in `places`.
    ReadyList ready;
    ReadyList urgent;  ///< Of high and of low priority.
    ReadyList idle;
    ReadyList dropped;  ///< Was ready when the run was cancelled.
    TaskContext context;
    Ending ending;
    std::uint64_t skipped_count = 0;    ///< Tasks that ended without a begin.
    std::uint32_t tasks_per_look = 16;  ///< Tasks between two looks at the clock.
    std::uint32_t held_count = 0;       ///< Tasks since the last look that end later, or never.
    Instant begin = {};                 ///< Of the visit.
    Instant looked = {};                ///< The last look at the clock.
    Instant task_end = {};              ///< Of the task before, if nothing came between.
    // Of a run that does not count.
    UnitRange slice;            ///< Of the level.
    UnitRange part;             ///< Taken and not begun.
    std::uint32_t chain_next;   ///< Where a chain that was begun goes on, or kNone.
    std::uint32_t level;        ///< Of the part.
    std::uint32_t units_ended;  ///< And not said.
    std::uint32_t left;         ///< Tasks until the next look at the clock.
    ReadyList unwell;  ///< Was begun and has not ended well, marked if what follows is skipped.
    OfferSlot<> slot;
  };

  /// What the loop reads, without a way round.
  struct View {
    TaskRecord* records;
    const std::uint32_t* successors;
    std::atomic<std::uint32_t>* counters;
  };

  enum class Look { kGoOn, kTimeIsOver, kRunHasEnded, kCancelled };

  /// How a lane comes back from a way.
  enum class WayEnd {
    kLater,     ///< There is more to do, later.
    kNothing,   ///< There is nothing to do for this lane, or the run has ended.
    kConverted  ///< The run counts from now on, and what is ready is in the lane's list.
  };

  /// Keeps the state while something will call back.
  class Reference {
   public:
    explicit Reference(RunState& state) noexcept : state_(&state) { state.add_reference(); }
    Reference(const Reference& other) noexcept : Reference(*other.state_) {}
    Reference& operator=(const Reference&) = delete;
    ~Reference() { state_->drop_reference(); }
    RunState* operator->() const noexcept { return state_; }

   private:
    RunState* state_;
  };

  // What draw() is asked for.
  static constexpr std::uint64_t kAppendedDraw = 1;
  static constexpr std::uint64_t kBackoffDraw = 2;
  static constexpr std::uint64_t kAttemptIdDraw = 3;

  static constexpr std::uint32_t kNone = UINT32_MAX;  ///< No position, no level.

  // Bits of `flags`: why a task may not just be run.
  static constexpr std::uint32_t kCancelled = 1;
  static constexpr std::uint32_t kSomeCancelled = 2;
  static constexpr std::uint32_t kCareful = 4;  ///< Each task is timed, traced or recorded.

  explicit RunState(const Tables& tables);

  // The begin and the end, in run_state.cpp. Precondition of begin(): nothing else uses it.
  Status begin(std::shared_ptr<Tables> tables, Executor& executor, const RunOptions& options,
               RunState* parent);
  Status check_options() const;
  void make_lanes();
  void arm(const Tables& of) noexcept;
  void add_reference() noexcept { references.fetch_add(1, std::memory_order_relaxed); }
  void drop_reference() noexcept;
  void rearm() noexcept PINION_EXCLUDES(mutex);
  void finish() noexcept PINION_EXCLUDES(mutex);
  Status final_status() PINION_EXCLUDES(mutex);
  void compensate() noexcept PINION_EXCLUDES(mutex);
  void let_end() noexcept;
  [[nodiscard]] bool on_worker() const noexcept {
    return executor->current_worker() != executor->worker_count();
  }
  [[nodiscard]] Instant now() const noexcept {
    return options.timer != nullptr ? options.timer->clock().now() : SystemClock().now();
  }
  [[nodiscard]] std::uint64_t draw(std::uint64_t number, std::uint64_t purpose) const noexcept;
  [[nodiscard]] Duration backoff(const RetryPolicy& policy, std::uint32_t position,
                                 std::uint32_t attempt_count) const noexcept;
  [[nodiscard]] RunProgress progress() noexcept PINION_EXCLUDES(mutex);

  // The loop, in run_loop.cpp.
  Status call_helper(bool wait_if_full, std::uint32_t place);
  void visit(Lane* lane, std::uint32_t place) noexcept;
  bool go_on_later(Lane& lane, std::uint32_t place) noexcept;
  bool leave_run() noexcept;
  bool find_first_work(Lane& lane) noexcept;
  template <bool Alone, bool Sorted>
  bool work(Lane& lane) noexcept;
  bool work_as_needed(Lane& lane) noexcept;
  template <bool Alone, bool Sorted>
  std::uint32_t release_successors(const View& view, Lane& lane, const TaskRecord& record,
                                   std::uint32_t position) noexcept;
  static void prefetch_successors(const View& view, const TaskRecord& record) noexcept;
  detail::BodyEnd run_task(Lane& lane, TaskRecord& record, std::uint32_t position) noexcept;
  bool find_work(Lane& lane) noexcept;
  bool claim_roots(Lane& lane) noexcept;
  bool look_at_slots(Lane& lane) noexcept;
  bool wait_for_offer(Lane& lane) noexcept;
  Look look_around(Lane& lane) noexcept;
  bool end_tasks(std::uint64_t count) noexcept;
  bool time_is_over(Lane& lane) noexcept;
  void offer(Lane& lane, ReadyList& list) noexcept;
  void call_for_offer(const Lane& lane) noexcept;
  Lane* enter_free_lane(std::uint32_t place) noexcept;

  // Without counting: run_ways.cpp has the choice and what both ways have, and the change to
  // counting.
  void begin_way() noexcept PINION_EXCLUDES(mutex);
  RunWay choose_way() noexcept;
  void note_time() noexcept;
  WayEnd sweep(Lane& lane) noexcept;
  bool end_apart(Lane& lane, std::uint32_t position, detail::BodyEnd end) noexcept;
  Look look_in_way(Lane& lane) noexcept;
  bool end_counted(Lane& lane) noexcept;
  WayEnd end_resumed(Lane& lane) noexcept PINION_EXCLUDES(mutex);
  bool convert(Lane& lane) noexcept PINION_EXCLUDES(mutex);
  void release_begun(Lane& lane, bool run_has_ended) noexcept;
  void mark_begun(std::uint8_t* tasks) noexcept;
  void open_inboxes() noexcept PINION_EXCLUDES(mutex);

  // In waves, in run_waves.cpp.
  WayEnd work_in_waves(Lane& lane) noexcept;
  bool find_part(Lane& lane) noexcept;
  Look run_part(Lane& lane) noexcept;
  void say_ended(Lane& lane) noexcept;
  void call_for_level(const Lane& lane) noexcept;

  // Places, priorities, and what comes from outside, in run_places.cpp.
  [[nodiscard]] std::uint32_t place_of(std::uint32_t position,
                                       std::uint32_t otherwise) const noexcept;
  void take_root(Lane& lane, std::uint32_t index) noexcept;
  void deliver(Lane& lane, std::uint32_t entry) noexcept;
  void sort_ready(Lane& lane) noexcept;
  static ReadyList* first_list(Lane& lane) noexcept;
  void send(std::uint32_t place, std::uint32_t entry) noexcept PINION_EXCLUDES(mutex);
  void call_visit(std::uint32_t place) noexcept;
  bool take_inbox(Lane& lane) noexcept PINION_EXCLUDES(mutex);

  // What is rare, in run_rare.cpp.
  detail::BodyEnd begin_rare(Lane& lane, TaskRecord& record, std::uint32_t entry) noexcept;
  detail::BodyEnd run_carefully(Lane& lane, TaskRecord& record, std::uint32_t position) noexcept;
  void end_rare(Lane& lane, std::uint32_t entry, detail::BodyEnd end) noexcept;
  bool end_unwell(Lane& lane, std::uint32_t position, detail::BodyEnd end) noexcept;
  void fail(std::uint32_t position, Ending ending) noexcept PINION_EXCLUDES(mutex);
  void skip_successors(Lane& lane, std::uint32_t position) noexcept;
  void note_done(std::uint32_t position) noexcept PINION_EXCLUDES(mutex);
  Outcomes& outcomes() noexcept PINION_EXCLUDES(mutex);

  // Cancelling, in run_cancel.cpp.
  [[nodiscard]] bool is_cancelled() const noexcept {
    return (flags.load(std::memory_order_relaxed) & kCancelled) != 0;
  }
  void cancel() noexcept PINION_EXCLUDES(mutex);
  void cancel(std::uint32_t position) PINION_EXCLUDES(mutex);
  void drop_ready(Lane& lane, std::uint32_t entry) noexcept PINION_EXCLUDES(mutex);
  ReadyList take_dropped() noexcept PINION_REQUIRES(mutex);
  void settle_dropped() noexcept PINION_EXCLUDES(mutex);

  // Tasks that are held, and retries, in run_held.cpp.
  void hold(std::uint32_t position, Ending ending) noexcept PINION_EXCLUDES(mutex);
  bool retry_later(std::uint32_t position, Ending& ending) noexcept PINION_EXCLUDES(mutex);
  void end_wait(std::uint32_t position, std::uint64_t ticket, Status status) noexcept
      PINION_EXCLUDES(mutex);
  void pass_limit(std::uint32_t position, std::uint64_t ticket) noexcept PINION_EXCLUDES(mutex);
  void end_all_retries() noexcept PINION_EXCLUDES(mutex);
  bool take_ending(std::uint32_t position, Ending& ending) noexcept PINION_EXCLUDES(mutex);
  void note_begin(std::uint32_t position, Instant now) noexcept PINION_EXCLUDES(mutex);
  [[nodiscard]] std::uint32_t attempt_of(std::uint32_t position) PINION_EXCLUDES(mutex);
  Status append(std::uint32_t position, Graph graph, Ending& ending) PINION_EXCLUDES(mutex);

  std::shared_ptr<Tables> tables = {};  ///< While in use, else null.
  Executor* executor = nullptr;
  RunState* root = nullptr;  ///< That of the run which this one was appended to, or itself.
  RunOptions options = {};
  std::vector<Place> places = {};
  std::vector<std::unique_ptr<Lane>> lanes = {};
  std::unique_ptr<Inbox<>[]> inboxes = {};  ///< One a place, under the mutex.
  std::size_t inbox_count = 0;
  std::unique_ptr<std::atomic<std::uint32_t>[]> counters;
  struct FreeValues {
    void operator()(std::byte* memory) const noexcept;
  };
  std::unique_ptr<std::byte, FreeValues> values = {};
  std::optional<CompletionSource> source = {};
  std::optional<Completion> completion = {};
  std::optional<CancelSource> cancel_source = {};

  RunWay way_chosen = RunWay::kCounting;
  Instant begun_at = {};
  Duration patience = {};        ///< A run that takes longer counts from then on.
  std::uint32_t part_size = 1;   ///< Units that a lane takes at once.
  std::uint32_t sweep_next = 0;  ///< The first task that has not begun.
  Waves<> waves;

  alignas(64) std::atomic<std::uint32_t> flags = 0;
  std::atomic<RunWay> way = RunWay::kCounting;
  std::atomic<std::uint32_t> convert_at = kNone;  ///< The level that is to be counted.
  alignas(64) std::atomic<std::uint32_t> references = 0;
  /// The run itself, until it has ended, and threads outside that have it go on and are in the
  /// executor: it says that it has ended when the last of them is out, as the executor may go then.
  std::atomic<std::uint32_t> enders = 0;
  alignas(64) std::atomic<std::uint32_t> next_root = 0;
  std::atomic<std::uint32_t> next_place = 0;
  HelperCalls<> helper_calls;
  OpenTasks<> open_tasks;
  Strands<> strands;

  Mutex mutex;
  std::vector<TaskError> errors;                  // Written under the mutex,
  std::vector<CompensationRecord> compensations;  // read after the end.
  struct Compensable {
    RunState* run = nullptr;
    std::uint32_t position = 0;
  };
  // In the order of ending, with those of appended graphs. Of the root only.
  std::vector<Compensable> compensable PINION_GUARDED_BY(mutex);
  bool compensates_again = false;  // The last record goes on.
  std::unordered_map<std::uint32_t, BegunTask> begun PINION_GUARDED_BY(mutex);
  std::uint64_t last_ticket PINION_GUARDED_BY(mutex) = 0;
  std::vector<std::unique_ptr<Run>> appended PINION_GUARDED_BY(mutex);
  std::atomic<Outcomes*> outcomes_made = nullptr;
  std::unique_ptr<Outcomes> outcomes_owner PINION_GUARDED_BY(mutex) = {};
  std::atomic<std::atomic<bool>*> cancelled_made = nullptr;
  std::unique_ptr<std::atomic<bool>[]> cancelled_owner PINION_GUARDED_BY(mutex) = {};
  Status end_status;  // While compensations run.
  std::uint64_t dropped_count =
      0;  // From the end on: tasks that a cancellation kept from beginning.
  bool is_converting PINION_GUARDED_BY(mutex) = false;  // Whether, or it has.
  bool is_settled PINION_GUARDED_BY(mutex) = false;     // Their states are known.
  bool needs_arming = false;                            // Their counters are not armed.
};

// In the loop that calls it: between two bodies there is little that is not this.
inline detail::BodyEnd RunState::run_task(Lane& lane, TaskRecord& record,
                                          std::uint32_t position) noexcept {
  lane.context.position_ = position;
  try {
    return record.body.invoke(record.body.storage, lane.context);
  } catch (...) {
    lane.ending.exception = std::current_exception();
    return detail::BodyEnd::kFailed;
  }
}

}  // namespace pinion
