#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <pinion/core/detail/piece_cursor.hpp>
#include <pinion/core/executor.hpp>

#include "count_down.hpp"
#include "place_arena.hpp"

namespace pinion {

/// Runs the whole range on the calling worker and on those of its arena that have nothing to do.
/// Begins no more of it once `given_up`, unless null, is true.
/// Errors: kCancelled when some indices may not have run. Throws: the first exception of a body.
[[nodiscard]] Status run_loop_here(IndexRange range, const detail::BulkBody& body,
                                   const BulkOptions& options,
                                   const std::atomic<bool>* given_up = nullptr);

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

  /// Blocks: until all pieces have ended. Errors, throws: as Executor::parallel_for().
  [[nodiscard]] Status wait();

 private:
  struct Part {
    IndexRange range = {};
    detail::PieceCursor<> pieces = {};
  };

  [[nodiscard]] std::optional<IndexRange> take_piece(std::size_t home) noexcept;
  void run(IndexRange piece) noexcept;

  const detail::BulkBody body_;
  const BulkOptions options_;
  const std::span<const std::vector<std::size_t>> help_orders_;
  std::vector<Part> parts_;
  CountDown pieces_;
  std::atomic<bool> cut_short_ = false;
  std::atomic<bool> failed_ = false;
  std::exception_ptr exception_;  // Of the one that set failed_.
};

}  // namespace pinion
