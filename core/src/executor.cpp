#include <pinion/core/executor.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include <oneapi/tbb/global_control.h>

#include <pinion/core/clock.hpp>
#include <pinion/core/detail/cpu_list.hpp>
#include <pinion/core/thread_annotations.hpp>

#include "bulk.hpp"
#include "cpu_mask.hpp"
#include "place_arena.hpp"
#include "spin.hpp"
#include "tbb_pool.hpp"
#include "worker_binding.hpp"
#include "worker_thread.hpp"

namespace pinion {
namespace {

// oneTBB can be given more, but a request beyond any machine is a mistake and not worth the
// threads.
constexpr std::size_t kWorkerCountMax = 4096;

// Starting a thread takes tens of microseconds; only a machine that gives none takes this long.
constexpr std::chrono::seconds kStartLimit(30);

// Deep enough for any tree of tasks that fits a queue, and far from the end of a worker's stack.
constexpr unsigned kNestedTasksMax = 64;

constexpr std::size_t kQueueCapacityMax = std::size_t{1} << 20;

std::string to_text(Place place) {
  return (place.kind == PlaceKind::kNuma ? "numa " : "device ") + std::to_string(place.index) +
         " of host " + std::to_string(place.host);
}

std::size_t count_workers(const ExecutorOptions& options) {
  std::size_t count = 0;
  for (const WorkerGroup& group : options.groups) {
    count += std::min(group.worker_count, kWorkerCountMax + 1);  // Cannot overflow.
  }
  return count;
}

Status check_group(const WorkerGroup& group, std::size_t group_count, const CpuMask& allowed) {
  const std::string name = "the group of place " + to_text(group.place);
  if (group.worker_count == 0) {
    return Status(ErrorCode::kInvalidArgument, name + " has worker_count 0; it must be at least 1");
  }
  if (!group.distances.empty() && group.distances.size() != group_count) {
    return Status(ErrorCode::kInvalidArgument,
                  name + " has " + std::to_string(group.distances.size()) +
                      " distances; it must have one for each of the " +
                      std::to_string(group_count) + " groups, or none");
  }
  std::vector<unsigned> asked_for = group.cpus;
  asked_for.insert(asked_for.end(), group.shared_cpus.begin(), group.shared_cpus.end());
  for (const unsigned cpu : asked_for) {
    if (!allowed.contains(cpu)) {
      return Status(ErrorCode::kPermissionDenied, name + " asks for CPU " + std::to_string(cpu) +
                                                      "; this process may use CPUs " +
                                                      detail::to_cpu_list(allowed.cpus()) +
                                                      " (see taskset and the cgroup's cpuset)");
    }
  }
  return {};
}

Status check_options(const ExecutorOptions& options, const CpuMask& allowed) {
  if (options.groups.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  "the options have no worker group; an executor needs at least one");
  }
  for (auto group = options.groups.begin(); group != options.groups.end(); ++group) {
    PINION_RETURN_IF_ERROR(check_group(*group, options.groups.size(), allowed));
    if (std::any_of(options.groups.begin(), group,
                    [&](const WorkerGroup& other) { return other.place == group->place; })) {
      return Status(ErrorCode::kInvalidArgument,
                    "the group of place " + to_text(group->place) +
                        " is there twice; put all workers of a place in one group");
    }
  }
  if (options.queue_capacity < 2 || options.queue_capacity > kQueueCapacityMax) {
    return Status(ErrorCode::kInvalidArgument,
                  "queue_capacity is " + std::to_string(options.queue_capacity) +
                      "; it must be from 2 to " + std::to_string(kQueueCapacityMax));
  }
  if (options.spin_window < Duration::zero()) {
    return Status(ErrorCode::kInvalidArgument, "spin_window is negative; 0 is the least");
  }
  if (count_workers(options) > kWorkerCountMax) {
    return Status(ErrorCode::kResourceExhausted, "the groups ask for more than " +
                                                     std::to_string(kWorkerCountMax) +
                                                     " workers in all; ask for fewer");
  }
  return {};
}

Status unknown_place(Place place) {
  return Status(ErrorCode::kInvalidArgument, "no worker group has place " + to_text(place) +
                                                 "; name a place of the executor's options");
}

// A point that a known number of workers must reach together, to prove that they run concurrently.
class Rendezvous {
 public:
  explicit Rendezvous(std::size_t expected) : expected_(expected) {}

  void arrive_and_wait() PINION_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    while (arrived_ < expected_ && !abandoned_) {
      changed_.wait(mutex_);
    }
  }

  // Lets everybody go when the time is over. Returns how many had arrived.
  std::size_t wait_for(std::chrono::seconds limit) PINION_EXCLUDES(mutex_) {
    const auto deadline = std::chrono::steady_clock::time_point(SystemClock().now()) + limit;
    const MutexLock lock(mutex_);
    while (arrived_ < expected_ && !abandoned_) {
      abandoned_ = changed_.wait_until(mutex_, deadline) == std::cv_status::timeout;
    }
    changed_.notify_all();
    return arrived_;
  }

  void abandon() PINION_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    abandoned_ = true;
    changed_.notify_all();
  }

 private:
  const std::size_t expected_;
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::size_t arrived_ PINION_GUARDED_BY(mutex_) = 0;
  bool abandoned_ PINION_GUARDED_BY(mutex_) = false;
};

// Keeps the workers of some arenas from their rings while a loop wants them.
class BulkScope {
 public:
  explicit BulkScope(PlaceArena& arena) : arena_(arena) { arena_.begin_bulk(); }
  ~BulkScope() { arena_.end_bulk(); }
  BulkScope(const BulkScope&) = delete;
  BulkScope& operator=(const BulkScope&) = delete;

 private:
  PlaceArena& arena_;
};

}  // namespace

struct Executor::State {
  State(const ExecutorOptions& options, const CpuMask& allowed);
  ~State();

  Status start(const ExecutorOptions& options);
  Status call_all_workers(std::size_t ring_capacity, const std::shared_ptr<Rendezvous>& rendezvous);

  PlaceArena* find(Place place) const noexcept;
  // That of the calling worker, or null on a thread that is none of this executor.
  PlaceArena* own_arena() const noexcept;
  Status push_when_possible(PlaceArena& arena, detail::TaskSource task);
  Status run_everywhere(IndexRange range, const detail::BulkBody& body, const BulkOptions& options,
                        const std::vector<PlaceArena*>& targets);

  const std::size_t worker_count;
  bool may_be_destroyed = true;  // False while tasks may wait for workers that never come.
  BindingTable bindings;
  TbbPoolShare pool_share;
  tbb::task_scheduler_handle scheduler{tbb::attach{}};
  ArenaControl control;
  const std::vector<std::vector<std::size_t>> help_orders;
  std::vector<std::unique_ptr<PlaceArena>> arenas;
};

Executor::State::State(const ExecutorOptions& options, const CpuMask& allowed)
    : worker_count(count_workers(options)),
      bindings(worker_count),
      pool_share(worker_count),
      help_orders(help_orders_of(options.groups)) {
  control.idle_policy = options.idle_policy;
  control.spin_window = options.spin_window;
  std::size_t first_worker = 0;
  for (const WorkerGroup& group : options.groups) {
    Binder::Site site{.executor = this,
                      .place = group.place,
                      .first_worker = first_worker,
                      .worker_count = group.worker_count};
    for (const unsigned cpu : group.cpus) {
      site.masks.push_back(CpuMask::of_cpu(cpu));
    }
    if (site.masks.empty() && !group.shared_cpus.empty()) {
      site.masks.push_back(CpuMask::of_cpus(group.shared_cpus));
    }
    if (site.masks.empty()) {
      // A thread may come from a group that had bound it, or inherit that from the thread that
      // started it: without bounds means all that this process may use.
      site.masks.push_back(allowed);
      site.is_bound = false;
    }
    arenas.push_back(std::make_unique<PlaceArena>(group, std::move(site), bindings, control));
    first_worker += group.worker_count;
  }
}

Executor::State::~State() {
  control.stopping = true;
  control.visits.wait();
  arenas.clear();
  // Joins the threads. It declines while something else in the process uses oneTBB, for example
  // another Executor: then the pool keeps them, and the last user lets them go.
  static_cast<void>(tbb::finalize(scheduler, std::nothrow));
}

// Every worker must be able to run while all others run: resident tasks rely on it. So all of them
// meet once, and an executor that cannot give what it promises does not come to life.
Status Executor::State::start(const ExecutorOptions& options) {
  const TbbPoolShare::Limits limits = TbbPoolShare::limits();
  if (limits.granted < limits.needed) {
    return Status(ErrorCode::kResourceExhausted,
                  "a tbb::global_control of this program allows " + std::to_string(limits.granted) +
                      " worker threads and the executors need " + std::to_string(limits.needed) +
                      "; end it or raise its max_allowed_parallelism");
  }
  may_be_destroyed = false;
  const auto rendezvous = std::make_shared<Rendezvous>(worker_count);
  PINION_RETURN_IF_ERROR(call_all_workers(std::bit_ceil(options.queue_capacity), rendezvous));
  if (const std::size_t arrived = rendezvous->wait_for(kStartLimit); arrived < worker_count) {
    return Status(ErrorCode::kResourceExhausted,
                  "only " + std::to_string(arrived) + " of " + std::to_string(worker_count) +
                      " workers started; raise the limit of threads (ulimit -u, the cgroup's "
                      "pids.max) or ask for fewer");
  }
  may_be_destroyed = true;
  for (const std::unique_ptr<PlaceArena>& arena : arenas) {
    if (!arena->has_ring()) {
      return Status(ErrorCode::kResourceExhausted, "there is no memory for a queue_capacity of " +
                                                       std::to_string(options.queue_capacity) +
                                                       "; ask for less");
    }
  }
  PINION_RETURN_IF_ERROR(bindings.status());
  if (options.idle_policy == IdlePolicy::kSpin) {
    for (const std::unique_ptr<PlaceArena>& arena : arenas) {
      arena->call_all();
    }
  }
  return {};
}

Status Executor::State::call_all_workers(std::size_t ring_capacity,
                                         const std::shared_ptr<Rendezvous>& rendezvous) {
  for (const std::unique_ptr<PlaceArena>& arena : arenas) {
    for (std::size_t i = 0; i < arena->options().worker_count; ++i) {
      try {
        arena->visit([arena = arena.get(), rendezvous, ring_capacity, is_first = i == 0] {
          if (is_first) {
            arena->make_ring(ring_capacity);
          }
          rendezvous->arrive_and_wait();
        });
      } catch (const std::exception& error) {
        rendezvous->abandon();
        return Status(ErrorCode::kResourceExhausted,
                      std::string("the system gives no more threads: ") + error.what());
      }
    }
  }
  return {};
}

PlaceArena* Executor::State::find(Place place) const noexcept {
  for (const std::unique_ptr<PlaceArena>& arena : arenas) {
    if (arena->options().place == place) {
      return arena.get();
    }
  }
  return nullptr;
}

PlaceArena* Executor::State::own_arena() const noexcept {
  if (detail::this_thread.executor != this) {
    return nullptr;
  }
  for (const std::unique_ptr<PlaceArena>& arena : arenas) {
    if (arena.get() == detail::this_thread.arena) {
      return arena.get();
    }
  }
  return nullptr;
}

// A worker that only waited could wait for itself. It empties the ring of its own place instead: if
// every worker of two places waits for the other's ring, each makes the room that another needs.
Status Executor::State::push_when_possible(PlaceArena& arena, detail::TaskSource task) {
  control.full_count.fetch_add(1, std::memory_order_relaxed);
  PlaceArena* const own = own_arena();
  Backoff backoff;
  while (!arena.try_push(task)) {
    if (own != nullptr && detail::this_thread.nested_tasks >= kNestedTasksMax) {
      task.discard();
      return Status(ErrorCode::kResourceExhausted,
                    "the queue is full, and this worker already runs " +
                        std::to_string(kNestedTasksMax) +
                        " tasks inside submit(); submit less from inside tasks, or raise "
                        "queue_capacity");
    }
    if (own == nullptr || !own->try_run_one()) {
      backoff.wait();
    }
  }
  return {};
}

Status Executor::State::run_everywhere(IndexRange range, const detail::BulkBody& body,
                                       const BulkOptions& options,
                                       const std::vector<PlaceArena*>& targets) {
  const auto run = std::make_shared<BulkRun>(targets, help_orders, range, body, options);
  PlaceArena* const own = own_arena();
  std::size_t home = targets.size();
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] == own) {
      home = i;
      continue;
    }
    targets[i]->begin_bulk();
    targets[i]->visit([run, i, arena = targets[i]] {
      run->work(i);
      arena->end_bulk();
    });
  }
  if (home < targets.size()) {
    const BulkScope scope(*own);
    run->work(home);
  }
  return run->wait();
}

Result<std::unique_ptr<Executor>> Executor::create(const ExecutorOptions& options) {
  const Result<CpuMask> allowed = CpuMask::of_calling_thread();
  if (!allowed) {
    return allowed.error();
  }
  PINION_RETURN_IF_ERROR(check_options(options, *allowed));
  try {
    auto state = std::make_unique<State>(options, *allowed);
    if (Status status = state->start(options); !status.ok()) {
      if (!state->may_be_destroyed) {
        // Tasks that no worker may ever take refer to it, so it is left to them.
        static_cast<void>(state.release());
      }
      return status;
    }
    return std::unique_ptr<Executor>(new Executor(std::move(state)));
  } catch (const std::exception& error) {
    return Status(ErrorCode::kResourceExhausted,
                  std::string("oneTBB cannot make the worker groups: ") + error.what());
  }
}

Executor::Executor(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}

Executor::~Executor() {
  // A worker that waited for its own task would wait for ever.
  PINION_ASSERT(current_worker() == worker_count());
}

// Whatever the answer is, the callable is gone.
Status Executor::submit_task(Place place, detail::TaskSource task, FullQueue full) {
  PlaceArena* const arena = state_->find(place);
  if (arena == nullptr) [[unlikely]] {
    task.discard();
    return unknown_place(place);
  }
  if (arena->try_push(task)) [[likely]] {
    return {};
  }
  if (full == FullQueue::kRefuse) {
    task.discard();
    state_->control.full_count.fetch_add(1, std::memory_order_relaxed);
    return Status(ErrorCode::kResourceExhausted,
                  "the queue of " + to_text(place) + " is full; let some of its tasks finish");
  }
  return state_->push_when_possible(*arena, task);
}

Status Executor::run_bulk(const Place* place, IndexRange range, detail::BulkBody body,
                          const BulkOptions& options) {
  if (options.errors != nullptr) {
    options.errors->clear();
  }
  if (range.begin > range.end || options.grain == 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "a loop over " + std::to_string(range.begin) + " up to " +
                      std::to_string(range.end) + " with grain " + std::to_string(options.grain) +
                      "; it must not end before it begins, and the grain is at least 1");
  }
  PlaceArena* const own = state_->own_arena();
  std::vector<PlaceArena*> targets;
  if (place != nullptr) {
    targets.push_back(state_->find(*place));
    if (targets.front() == nullptr) {
      return unknown_place(*place);
    }
    if (own != nullptr && own != targets.front()) {
      return Status(ErrorCode::kFailedPrecondition,
                    "a worker of " + to_text(own->options().place) + " asks for a loop at " +
                        to_text(*place) +
                        " and would only wait; loop at its own place or at all of them");
    }
  } else {
    for (const std::unique_ptr<PlaceArena>& arena : state_->arenas) {
      targets.push_back(arena.get());
    }
  }
  if (range.begin == range.end) {
    return {};
  }
  if (targets.size() == 1 && targets.front() == own) {
    const BulkScope scope(*own);
    return run_loop_here(range, body, options);
  }
  return state_->run_everywhere(range, body, options, targets);
}

void Executor::set_idle_policy(IdlePolicy policy) noexcept {
  state_->control.idle_policy.store(policy, std::memory_order_relaxed);
  if (policy == IdlePolicy::kSpin) {
    for (const std::unique_ptr<PlaceArena>& arena : state_->arenas) {
      arena->call_all();
    }
  }
}

std::size_t Executor::worker_count() const noexcept {
  return state_->worker_count;
}

std::vector<WorkerGroup> Executor::groups() const {
  std::vector<WorkerGroup> groups;
  for (const std::unique_ptr<PlaceArena>& arena : state_->arenas) {
    groups.push_back(arena->options());
  }
  return groups;
}

std::vector<WorkerBinding> Executor::bindings() {
  return state_->bindings.bindings();
}

std::size_t Executor::current_worker() const noexcept {
  return detail::this_thread.executor == state_.get() ? detail::this_thread.worker
                                                      : state_->worker_count;
}

ExecutorEvents Executor::events() const noexcept {
  const ArenaControl& control = state_->control;
  return {.call_count = control.call_count.load(std::memory_order_relaxed),
          .leave_count = control.leave_count.load(std::memory_order_relaxed),
          .yield_count = control.yield_count.load(std::memory_order_relaxed),
          .full_count = control.full_count.load(std::memory_order_relaxed),
          .misbound_count = state_->bindings.misbound_count()};
}

}  // namespace pinion
