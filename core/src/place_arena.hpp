#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <oneapi/tbb/task_arena.h>

#include <pinion/core/clock.hpp>
#include <pinion/core/detail/drain_gate.hpp>
#include <pinion/core/detail/task.hpp>
#include <pinion/core/detail/task_ring.hpp>
#include <pinion/core/executor.hpp>

#include "count_down.hpp"
#include "hand_over.hpp"
#include "worker_binding.hpp"

namespace pinion {

/// What the arenas of one executor share.
struct ArenaControl {
  std::atomic<IdlePolicy> idle_policy = IdlePolicy::kSpinThenPark;
  Duration spin_window = {};
  std::atomic<bool> stopping = false;  ///< Drainers leave an empty ring, whatever the policy.
  CountDown visits;                    ///< What was handed to oneTBB and has not ended.

  std::atomic<std::uint64_t> call_count = 0;
  std::atomic<std::uint64_t> leave_count = 0;
  std::atomic<std::uint64_t> yield_count = 0;
  std::atomic<std::uint64_t> full_count = 0;
};

/// The workers of one place: a oneTBB arena, the ring of tasks that wait for it, and the drainers,
/// visits of its threads that take tasks from the ring and run them one at a time.
///
/// Thread safety: all members may be called from any thread, once make_ring() has ended.
class PlaceArena {
 public:
  PlaceArena(const WorkerGroup& options, Binder::Site site, BindingTable& table,
             ArenaControl& control);

  [[nodiscard]] const WorkerGroup& options() const noexcept { return options_; }

  /// Called by one of the workers, so that the ring's pages are of their NUMA node.
  void make_ring(std::size_t capacity) noexcept;
  [[nodiscard]] bool has_ring() const noexcept { return ring_ != nullptr; }

  /// False when the ring is full: the task is not made.
  [[nodiscard]] bool try_push(detail::TaskSource task) noexcept {
    if (!ring_->try_push_made([&task](detail::Task* at) noexcept { task.make_at(at); })) {
      return false;
    }
    if (gate_.enter()) [[unlikely]] {
      call_drainer();
    }
    return true;
  }

  /// Runs the oldest task here, on the calling worker. False when there is none.
  bool try_run_one() noexcept;

  /// Calls in all workers that are not at the ring.
  void call_all() noexcept;

  /// Between the two, workers are kept from the ring.
  void begin_bulk() noexcept { gate_.begin_bulk(); }
  void end_bulk() noexcept;

  /// Has a worker run `work`, before tasks of the ring if bulk work was begun.
  /// Throws: what oneTBB does when it has no memory, or no thread for its first visits.
  template <class Work>
  void visit(Work work) {
    control_.visits.add();
    visit_begins.give();
    try {
      const HiddenWrites hidden;
      arena_.enqueue([this, work = std::move(work)] {
        visit_begins.take();
        work();
        control_.visits.drop();
      });
    } catch (const std::bad_alloc&) {
      control_.visits.drop();
      throw;
    }
  }

 private:
  // Of all arenas, as a visit reads in what was handed over which one it is of.
  static inline HandOver visit_begins;

  void call_drainer() noexcept;
  void drain() noexcept;

  const WorkerGroup options_;
  ArenaControl& control_;
  detail::DrainGate<> gate_;
  std::unique_ptr<detail::TaskRing<detail::Task>> ring_;
  // The binder must stop before its arena ends; members are destroyed from the last to the first.
  tbb::task_arena arena_;
  Binder binder_;
};

}  // namespace pinion
