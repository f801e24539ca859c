#include <pinion/core/executor.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_scheduler_observer.h>

#include <pinion/core/clock.hpp>
#include <pinion/core/thread_annotations.hpp>

#include "cpu_mask.hpp"
#include "tbb_pool.hpp"
#include "worker_thread.hpp"

namespace pinion {
namespace {

// oneTBB can be given more, but a request beyond any machine is a mistake and not worth the
// threads.
constexpr std::size_t kWorkerCountMax = 4096;

// Starting a thread takes tens of microseconds; only a machine that gives none takes this long.
constexpr std::chrono::seconds kStartLimit(30);

// What the calling thread is at the moment. The observer writes it when oneTBB moves the thread.
struct WorkerThread {
  const void* executor = nullptr;
  std::size_t worker = 0;
  bool inside_task = false;
};
thread_local constinit WorkerThread this_thread;

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

Status check_options(const ExecutorOptions& options, const CpuMask& allowed) {
  if (options.groups.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  "the options have no worker group; an executor needs at least one");
  }
  for (auto group = options.groups.begin(); group != options.groups.end(); ++group) {
    const std::string name = "the group of place " + to_text(group->place);
    if (group->worker_count == 0) {
      return Status(ErrorCode::kInvalidArgument,
                    name + " has worker_count 0; it must be at least 1");
    }
    if (std::any_of(options.groups.begin(), group,
                    [&](const WorkerGroup& other) { return other.place == group->place; })) {
      return Status(ErrorCode::kInvalidArgument,
                    name + " is there twice; put all workers of a place in one group");
    }
    for (const unsigned cpu : group->cpus) {
      if (!allowed.contains(cpu)) {
        return Status(ErrorCode::kPermissionDenied, name + " asks for CPU " + std::to_string(cpu) +
                                                        "; this process may use CPUs " +
                                                        to_list(allowed.cpus()) +
                                                        " (see taskset and the cgroup's cpuset)");
      }
    }
  }
  if (count_workers(options) > kWorkerCountMax) {
    return Status(ErrorCode::kResourceExhausted, "the groups ask for more than " +
                                                     std::to_string(kWorkerCountMax) +
                                                     " workers in all; ask for fewer");
  }
  return {};
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

// What the system said of each worker when its thread last came in.
class BindingTable {
 public:
  explicit BindingTable(std::size_t worker_count) : bindings_(worker_count) {}

  void set(WorkerBinding binding, Status status) PINION_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (status_.ok()) {
      status_ = std::move(status);
    }
    bindings_[binding.worker] = std::move(binding);
  }

  std::vector<WorkerBinding> bindings() PINION_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return bindings_;
  }

  // The first binding that failed.
  Status status() PINION_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return status_;
  }

 private:
  Mutex mutex_;
  std::vector<WorkerBinding> bindings_ PINION_GUARDED_BY(mutex_);
  Status status_ PINION_GUARDED_BY(mutex_);
};

// Numbers and binds the threads of one arena. oneTBB moves threads between arenas, so a thread is
// bound each time it comes in and is left as it is when it goes: whichever arena it enters next
// binds it again.
class Binder final : public tbb::task_scheduler_observer {
 public:
  struct Site {
    const void* executor = nullptr;
    Place place = {};
    std::size_t first_worker = 0;
    std::size_t worker_count = 1;
    std::vector<CpuMask> masks = {};  // One a worker, in a cycle.
  };

  Binder(tbb::task_arena& arena, Site site, BindingTable& table)
      : tbb::task_scheduler_observer(arena), site_(std::move(site)), table_(table) {
    observe(true);
  }
  ~Binder() override { observe(false); }

  Binder(const Binder&) = delete;
  Binder& operator=(const Binder&) = delete;

  void on_scheduler_entry(bool) noexcept override {
    // No slot is reserved, so the slots of the arena are its workers, each held by one thread. Only
    // the arena of one worker has a second slot, and its one thread may sit in either.
    const auto index = static_cast<std::size_t>(tbb::this_task_arena::current_thread_index());
    const std::size_t slot = site_.worker_count == 1 ? 0 : index;
    PINION_ASSERT(slot < site_.worker_count);
    this_thread = {.executor = site_.executor, .worker = site_.first_worker + slot};
    const int error = site_.masks[slot % site_.masks.size()].bind_calling_thread();
    Result<CpuMask> seen = CpuMask::of_calling_thread();
    Status status;
    if (error != 0) {
      status =
          Status::from_errno(error, "cannot bind worker " + std::to_string(this_thread.worker));
    } else if (!seen) {
      status = seen.error();
    }
    table_.set({.worker = this_thread.worker,
                .place = site_.place,
                .cpus = seen ? seen->cpus() : std::vector<unsigned>()},
               std::move(status));
  }

  void on_scheduler_exit(bool) noexcept override { this_thread = {}; }

 private:
  const Site site_;
  BindingTable& table_;
};

}  // namespace

bool detail::inside_task() noexcept {
  return this_thread.inside_task;
}

struct Executor::State {
  // The binder must stop before its arena ends; members are destroyed from the last to the first.
  struct Group {
    Group(const WorkerGroup& group_options, Binder::Site site, BindingTable& table)
        : options(group_options),
          arena(static_cast<int>(group_options.worker_count), /*reserved_for_masters=*/0,
                tbb::task_arena::priority::high),
          binder(arena, std::move(site), table) {}

    const WorkerGroup options;
    tbb::task_arena arena;
    Binder binder;
  };

  State(const ExecutorOptions& options, const CpuMask& allowed);
  ~State();

  Status start();
  Status accept(Group& group, Task task);
  void run(Task* task) noexcept;
  void drop_one() noexcept;

  const std::size_t worker_count;
  bool may_be_destroyed = true;  // False while tasks may wait for workers that never come.
  BindingTable bindings;
  TbbPoolShare pool_share;
  tbb::task_scheduler_handle scheduler{tbb::attach{}};
  std::vector<std::unique_ptr<Group>> groups;

  // Tasks accepted and not yet destroyed, and one for the executor itself. Who takes it to zero,
  // and only he, touches the members below, so that a worker never touches an executor that is
  // gone.
  std::atomic<std::size_t> outstanding = 1;
  Mutex mutex;
  std::condition_variable_any drained_changed;
  bool drained PINION_GUARDED_BY(mutex) = false;
};

Executor::State::State(const ExecutorOptions& options, const CpuMask& allowed)
    : worker_count(count_workers(options)), bindings(worker_count), pool_share(worker_count) {
  std::size_t first_worker = 0;
  for (const WorkerGroup& group : options.groups) {
    Binder::Site site{.executor = this,
                      .place = group.place,
                      .first_worker = first_worker,
                      .worker_count = group.worker_count};
    for (const unsigned cpu : group.cpus) {
      site.masks.push_back(CpuMask::of_cpu(cpu));
    }
    if (site.masks.empty()) {
      // A thread may come from a group that had bound it, or inherit that from the thread that
      // started it: without bounds means all that this process may use.
      site.masks.push_back(allowed);
    }
    groups.push_back(std::make_unique<Group>(group, std::move(site), bindings));
    first_worker += group.worker_count;
  }
}

Executor::State::~State() {
  drop_one();
  {
    const MutexLock lock(mutex);
    while (!drained) {
      drained_changed.wait(mutex);
    }
  }
  groups.clear();
  // Joins the threads. It declines while something else in the process uses oneTBB, for example
  // another Executor: then the pool keeps them, and the last user lets them go.
  static_cast<void>(tbb::finalize(scheduler, std::nothrow));
}

// Every worker must be able to run while all others run: resident tasks rely on it. So all of them
// meet once, and an executor that cannot give what it promises does not come to life.
Status Executor::State::start() {
  const TbbPoolShare::Limits limits = TbbPoolShare::limits();
  if (limits.granted < limits.needed) {
    return Status(ErrorCode::kResourceExhausted,
                  "a tbb::global_control of this program allows " + std::to_string(limits.granted) +
                      " worker threads and the executors need " + std::to_string(limits.needed) +
                      "; end it or raise its max_allowed_parallelism");
  }
  may_be_destroyed = false;
  const auto rendezvous = std::make_shared<Rendezvous>(worker_count);
  for (const std::unique_ptr<Group>& group : groups) {
    for (std::size_t i = 0; i < group->options.worker_count; ++i) {
      if (Status status = accept(*group, [rendezvous] { rendezvous->arrive_and_wait(); });
          !status.ok()) {
        rendezvous->abandon();
        return status;
      }
    }
  }
  if (const std::size_t arrived = rendezvous->wait_for(kStartLimit); arrived < worker_count) {
    return Status(ErrorCode::kResourceExhausted,
                  "only " + std::to_string(arrived) + " of " + std::to_string(worker_count) +
                      " workers started; raise the limit of threads (ulimit -u, the cgroup's "
                      "pids.max) or ask for fewer");
  }
  may_be_destroyed = true;
  return bindings.status();
}

Status Executor::State::accept(Group& group, Task task) {
  auto node = std::make_unique<Task>(std::move(task));
  outstanding.fetch_add(1, std::memory_order_relaxed);
  try {
    group.arena.enqueue([this, task_pointer = node.get()] { run(task_pointer); });
  } catch (const std::bad_alloc&) {
    drop_one();
    return Status(ErrorCode::kResourceExhausted,
                  "there is no memory for one more task; let some of those accepted finish");
  } catch (const std::exception& error) {
    // The task is in the queue: what failed is the start of a thread, which happens in start()
    // only.
    static_cast<void>(node.release());
    return Status(ErrorCode::kResourceExhausted,
                  std::string("the system gives no more threads: ") + error.what());
  }
  static_cast<void>(node.release());  // run() owns it.
  return {};
}

void Executor::State::run(Task* task) noexcept {
  this_thread.inside_task = true;
  (*task)();
  delete task;  // Before the count: what the task owns must go while the executor is there.
  this_thread.inside_task = false;
  drop_one();
}

// Pairs with itself: the release of each finished task is acquired by the one that takes the count
// to zero, which hands all of their effects to the destructor through the mutex.
void Executor::State::drop_one() noexcept {
  if (outstanding.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    const MutexLock lock(mutex);
    drained = true;
    drained_changed.notify_all();
  }
}

Result<std::unique_ptr<Executor>> Executor::create(const ExecutorOptions& options) {
  const Result<CpuMask> allowed = CpuMask::of_calling_thread();
  if (!allowed) {
    return allowed.error();
  }
  PINION_RETURN_IF_ERROR(check_options(options, *allowed));
  try {
    auto state = std::make_unique<State>(options, *allowed);
    if (Status status = state->start(); !status.ok()) {
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

Status Executor::submit(Place place, Task task) {
  PINION_ASSERT(task != nullptr);
  for (const std::unique_ptr<State::Group>& group : state_->groups) {
    if (group->options.place == place) {
      return state_->accept(*group, std::move(task));
    }
  }
  return Status(ErrorCode::kInvalidArgument, "no worker group has place " + to_text(place) +
                                                 "; submit to a place of the options");
}

std::size_t Executor::worker_count() const noexcept {
  return state_->worker_count;
}

std::vector<WorkerGroup> Executor::groups() const {
  std::vector<WorkerGroup> groups;
  for (const std::unique_ptr<State::Group>& group : state_->groups) {
    groups.push_back(group->options);
  }
  return groups;
}

std::vector<WorkerBinding> Executor::bindings() {
  return state_->bindings.bindings();
}

std::size_t Executor::current_worker() const noexcept {
  return this_thread.executor == state_.get() ? this_thread.worker : state_->worker_count;
}

}  // namespace pinion
