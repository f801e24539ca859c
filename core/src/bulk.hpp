#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <vector>

#include <pinion/core/detail/piece_cursor.hpp>
#include <pinion/core/executor.hpp>
#include <pinion/core/thread_annotations.hpp>

#include "count_down.hpp"
#include "place_arena.hpp"

namespace pinion {

namespace detail {

/// What the bodies of one loop threw.
///
/// Thread safety: all members from any thread.
class BulkErrors {
 public:
  /// The exception that is being handled. Never fails: where there is no memory to keep more than
  /// the first, the others are counted.
  void note(IndexRange at) noexcept PINION_EXCLUDES(mutex_);

  /// Cheap. A hint for who goes on; exact for whoever has waited for all pieces of the loop.
  [[nodiscard]] bool any() const noexcept { return any_.load(std::memory_order_relaxed); }

  /// All that were kept, the first one first.
  [[nodiscard]] std::vector<BulkError> take() PINION_EXCLUDES(mutex_);

  /// How many there was no memory for.
  [[nodiscard]] std::size_t uncollected_count() PINION_EXCLUDES(mutex_);

 private:
  struct Thrown {
    IndexRange at = {};
    std::exception_ptr exception = {};
  };

  std::atomic<bool> any_ = false;
  Mutex mutex_;
  Thrown first_ PINION_GUARDED_BY(mutex_);
  std::vector<Thrown> others_ PINION_GUARDED_BY(mutex_);
  std::size_t uncollected_count_ PINION_GUARDED_BY(mutex_) = 0;
};

}  // namespace detail

/// Runs the whole range on the calling worker and on those of its arena that have nothing to do.
/// Errors: as Executor::parallel_for().
[[nodiscard]] Status run_loop_here(IndexRange range, const detail::BulkBody& body,
                                   const BulkOptions& options);

/// For each group, all of them in the order in which its workers look for work in a loop: their own
/// first, then by distance, and those that are as far, or whose distance is not known, in a circle.
[[nodiscard]] std::vector<std::vector<std::size_t>> help_orders_of(
    const std::vector<WorkerGroup>& groups);

/// One loop over the workers of several arenas. Each arena has its part of the range, in pieces, so
/// that an arena that is done can help another: what waits is never more than a piece away.
///
/// Thread safety: work() from any worker; the others from the thread that began the loop.
/// Lifetime: shared, as an arena may come when all is done; the body is not touched then.
class BulkRun {
 public:
  /// `arenas` are one, or those of all groups that `help_orders` is of, which outlives work().
  BulkRun(const std::vector<PlaceArena*>& arenas,
          std::span<const std::vector<std::size_t>> help_orders, IndexRange range,
          const detail::BulkBody& body, const BulkOptions& options);

  /// Runs pieces until none is left to begin with, in the order of help of arena number `home`.
  void work(std::size_t home) noexcept;

  /// Blocks: until all pieces have ended. Errors: as Executor::parallel_for().
  [[nodiscard]] Status wait();

 private:
  struct Part {
    IndexRange range = {};
    detail::PieceCursor<> pieces = {};
  };

  [[nodiscard]] std::optional<IndexRange> take_piece(std::size_t home) noexcept;

  const detail::BulkBody body_;
  const BulkOptions options_;
  const std::span<const std::vector<std::size_t>> help_orders_;
  std::vector<Part> parts_;
  CountDown pieces_;
  std::atomic<bool> cut_short_ = false;
  detail::BulkErrors errors_;
};

}  // namespace pinion
