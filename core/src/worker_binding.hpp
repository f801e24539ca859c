#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_scheduler_observer.h>

#include <pinion/core/executor.hpp>
#include <pinion/core/thread_annotations.hpp>

#include "cpu_mask.hpp"
#include "hand_over.hpp"

namespace pinion {

/// What the system said of each worker when its thread last came in, and whether it was ever wrong.
///
/// Thread safety: all members may be called from any thread.
class BindingTable {
 public:
  explicit BindingTable(std::size_t worker_count) : bindings_(worker_count) {}

  void set(WorkerBinding binding) PINION_EXCLUDES(mutex_);
  [[nodiscard]] std::vector<WorkerBinding> bindings() PINION_EXCLUDES(mutex_);

  /// That of the first worker which was ever bound wrongly.
  [[nodiscard]] Status status() PINION_EXCLUDES(mutex_);

  [[nodiscard]] std::uint64_t misbound_count() const noexcept {
    return misbound_count_.load(std::memory_order_relaxed);
  }

 private:
  Mutex mutex_;
  std::vector<WorkerBinding> bindings_ PINION_GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> misbound_count_ = 0;
};

/// Numbers and binds the threads of one arena. oneTBB moves threads between arenas, so a thread is
/// bound each time it comes in and is left as it is when it goes: whichever arena it enters next
/// binds it again.
class Binder final : public tbb::task_scheduler_observer {
 public:
  struct Site {
    const void* executor = nullptr;
    Place place = {};
    std::size_t first_worker = 0;
    std::size_t worker_count = 1;
    std::vector<CpuMask> masks = {};  ///< One a worker, in a cycle.
    bool is_bound = true;             ///< False: the masks are all that the process may use.
  };

  /// `place_arena` is what this_thread.arena becomes.
  Binder(tbb::task_arena& arena, const void* place_arena, Site site, BindingTable& table);
  ~Binder() override;
  Binder(const Binder&) = delete;
  Binder& operator=(const Binder&) = delete;

  void on_scheduler_entry(bool is_worker) noexcept override;
  void on_scheduler_exit(bool is_worker) noexcept override;

 private:
  // Of all binders, as oneTBB calls a binder that is in what was handed over.
  static inline HandOver begins;
  static inline HandOver ends;

  [[nodiscard]] WorkerBinding bind(std::size_t worker, const CpuMask& wanted) const;

  const void* const place_arena_;
  const Site site_;
  BindingTable& table_;
};

}  // namespace pinion
