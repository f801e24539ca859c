#include "place_arena.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <optional>
#include <thread>

#include "spin.hpp"
#include "worker_thread.hpp"

namespace pinion {
namespace {

// A look takes the line of the next cell, or that of the tail, from the producer that is about to
// write it, so a drainer that looked all the time would hold up every push. Meanwhile the producer
// gets some cells ahead.
void pause_between_looks() noexcept {
  constexpr Duration kBetweenLooks = std::chrono::nanoseconds(150);
  const SystemClock clock;
  const Instant begin = clock.now();
  do {
    pause_cpu();
  } while (clock.now() - begin < kBetweenLooks);
}

// Keeps a drainer some cells behind the producers. One that is at their heels takes each line while
// they write it or the next: both sides then wait for a transfer between the CPUs at every task,
// and stay like that, as they are equally fast.
class FollowingDistance {
 public:
  // False: producers are just ahead and at work, look again after a pause.
  [[nodiscard]] bool may_take(const detail::TaskRing<detail::Task>& ring) noexcept {
    if (take_count_ > 0) {
      --take_count_;
      return true;
    }
    const std::size_t size = ring.size();
    if (size < kFar && size > size_before_ && look_count_ < kLookCountMax) {
      size_before_ = size;
      ++look_count_;
      return false;
    }
    take_count_ = size < kFar ? size : size - kNear;
    size_before_ = 0;
    look_count_ = 0;
    take_count_ -= std::min<std::size_t>(take_count_, 1);
    return true;
  }

  void found_none() noexcept { take_count_ = 1; }  // Who comes to an idle drainer does not wait.

 private:
  static constexpr std::size_t kNear = 128;
  static constexpr std::size_t kFar = 256;
  // 16 pauses, 2.4 us, are the most that a task waits for more of them to come.
  static constexpr unsigned kLookCountMax = 16;

  std::size_t take_count_ = 0;  // Tasks until the next look at the size.
  std::size_t size_before_ = 0;
  unsigned look_count_ = 0;
};

// How one drainer waits at an empty ring.
class IdleWatch {
 public:
  explicit IdleWatch(const ArenaControl& control) : control_(control) {}

  void found_task() noexcept { idle_since_ = kBusy; }

  // Called after each look that found nothing, comes back when it is time for the next one. False:
  // leave.
  [[nodiscard]] bool goes_on() noexcept {
    const IdlePolicy policy = control_.idle_policy.load(std::memory_order_relaxed);
    if (policy == IdlePolicy::kPark || control_.stopping.load(std::memory_order_relaxed)) {
      return false;
    }
    const SystemClock clock;
    const Instant now = clock.now();
    if (idle_since_ == kBusy) {
      idle_since_ = now;
      offered_at_ = now;
    }
    if (policy == IdlePolicy::kSpinThenPark && now - idle_since_ >= control_.spin_window) {
      return false;
    }
    if (now - offered_at_ >= kBetweenOffers) {
      std::this_thread::yield();
      offered_at_ = clock.now();
      return true;
    }
    pause_between_looks();
    return true;
  }

 private:
  // The producer may be waiting for this very CPU. An offer that nobody takes costs half a
  // microsecond, in which a task waits.
  static constexpr Duration kBetweenOffers = std::chrono::microseconds(2);
  static constexpr Instant kBusy = Instant::min();

  const ArenaControl& control_;
  Instant idle_since_ = kBusy;
  Instant offered_at_ = kBusy;
};

void count(std::atomic<std::uint64_t>& counter) noexcept {
  counter.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

PlaceArena::PlaceArena(const WorkerGroup& options, Binder::Site site, BindingTable& table,
                       ArenaControl& control)
    : options_(options),
      control_(control),
      gate_(static_cast<std::uint32_t>(options.worker_count)),
      arena_(static_cast<int>(options.worker_count), /*reserved_for_masters=*/0,
             tbb::task_arena::priority::high),
      binder_(arena_, this, std::move(site), table) {}

void PlaceArena::make_ring(std::size_t capacity) noexcept {
  try {
    ring_ = std::make_unique<detail::TaskRing<detail::Task>>(capacity);
  } catch (const std::bad_alloc&) {
    ring_ = nullptr;
  }
}

// Ends the process when there is no memory for the few bytes of oneTBB's task: the task in the ring
// was accepted and would wait for ever. All threads have started before, so nothing else can fail.
void PlaceArena::call_drainer() noexcept {
  count(control_.call_count);
  visit([this] { drain(); });
}

void PlaceArena::call_all() noexcept {
  while (gate_.enter()) {
    call_drainer();
  }
}

bool PlaceArena::try_run_one() noexcept {
  std::optional<detail::Task> task = ring_->try_pop();
  if (!task) {
    return false;
  }
  ++detail::this_thread.nested_tasks;
  task->run();
  --detail::this_thread.nested_tasks;
  return true;
}

void PlaceArena::drain() noexcept {
  const detail::InsideTask inside;
  IdleWatch idle(control_);
  FollowingDistance distance;
  for (;;) {
    if (gate_.bulk_waits()) {
      if (gate_.leave_to_bulk()) {
        return count(control_.yield_count);
      }
    } else if (!distance.may_take(*ring_)) {
      pause_between_looks();
    } else if (std::optional<detail::Task> task = ring_->try_pop()) {
      task->run();
      idle.found_task();
    } else {
      distance.found_none();
      if (!idle.goes_on()) {
        if (gate_.leave(*ring_)) {
          return count(control_.leave_count);
        }
        std::this_thread::yield();  // A producer is between taking its cell and filling it.
      }
    }
  }
}

void PlaceArena::end_bulk() noexcept {
  if (!gate_.end_bulk()) {
    return;
  }
  if (control_.idle_policy.load(std::memory_order_relaxed) == IdlePolicy::kSpin) {
    call_all();
  }
  for (std::size_t i = ring_->size(); i > 0 && gate_.enter(); --i) {
    call_drainer();
  }
}

}  // namespace pinion
