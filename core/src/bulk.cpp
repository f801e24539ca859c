#include "bulk.hpp"

#include <algorithm>
#include <utility>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include "worker_thread.hpp"

namespace pinion {
namespace {

// With more places than one: enough for a place that is late to be helped, few enough that their
// ends, where the workers of a place wait for each other, cost little.
constexpr std::size_t kPiecesOfPart = 8;

std::size_t size_of(IndexRange range) noexcept {
  return range.end - range.begin;
}

// The index that lies `part` of `whole` into the range. Its product cannot overflow, as `whole` is
// a count of workers or pieces.
std::size_t index_at(IndexRange range, std::size_t part, std::size_t whole) noexcept {
  const std::size_t size = size_of(range);
  return range.begin + size / whole * part + size % whole * part / whole;
}

Status cancelled_status() {
  return Status(ErrorCode::kCancelled,
                "the loop was cancelled; some of its indices may not have run");
}

}  // namespace

Status run_loop_here(IndexRange range, const detail::BulkBody& body, const BulkOptions& options,
                     const std::atomic<bool>* given_up) {
  tbb::task_group_context context;
  // Isolated: a thread that waits inside for the last pieces takes nothing else meanwhile, so that
  // a body never finds itself on top of another one that holds a lock.
  tbb::this_task_arena::isolate([&] {
    tbb::parallel_for(
        tbb::blocked_range<std::size_t>(range.begin, range.end, options.grain),
        [&](const tbb::blocked_range<std::size_t>& piece) {
          if (options.cancel.cancelled() ||
              (given_up != nullptr && given_up->load(std::memory_order_relaxed))) {
            context.cancel_group_execution();
            return;
          }
          const detail::InsideTask inside;
          body.run(body.object, {.begin = piece.begin(), .end = piece.end()}, options.cancel);
        },
        tbb::auto_partitioner(), context);
  });
  // The context is cancelled with that of an outer loop, too.
  return options.cancel.cancelled() || context.is_group_execution_cancelled() ? cancelled_status()
                                                                              : Status();
}

std::vector<std::vector<std::size_t>> help_orders_of(const std::vector<WorkerGroup>& groups) {
  std::vector<std::vector<std::size_t>> orders;
  for (const WorkerGroup& group : groups) {
    std::vector<std::size_t>& order = orders.emplace_back();
    for (std::size_t i = 0; i < groups.size(); ++i) {
      order.push_back((orders.size() - 1 + i) % groups.size());
    }
    if (!group.distances.empty()) {
      std::stable_sort(order.begin() + 1, order.end(), [&group](std::size_t a, std::size_t b) {
        return group.distances[a] < group.distances[b];
      });
    }
  }
  return orders;
}

BulkRun::BulkRun(const std::vector<PlaceArena*>& arenas,
                 std::span<const std::vector<std::size_t>> help_orders, IndexRange range,
                 const detail::BulkBody& body, const BulkOptions& options)
    : body_(body), options_(options), help_orders_(help_orders), parts_(arenas.size()) {
  std::size_t all_workers = 0;
  for (const PlaceArena* const arena : arenas) {
    all_workers += arena->options().worker_count;
  }
  std::size_t workers = 0;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    part.range.begin = index_at(range, workers, all_workers);
    workers += arenas[i]->options().worker_count;
    part.range.end = index_at(range, workers, all_workers);
    part.pieces.reset(parts_.size() == 1 ? 1 : std::min(kPiecesOfPart, size_of(part.range)));
    pieces_.add(part.pieces.count());
  }
}

std::optional<IndexRange> BulkRun::take_piece(std::size_t home) noexcept {
  constexpr std::size_t kTheOnlyOne = 0;
  const std::span<const std::size_t> order =
      parts_.size() == 1 ? std::span(&kTheOnlyOne, 1) : std::span(help_orders_[home]);
  for (const std::size_t i : order) {
    Part& part = parts_[i];
    if (const std::optional<std::size_t> piece = part.pieces.take()) {
      return IndexRange{.begin = index_at(part.range, *piece, part.pieces.count()),
                        .end = index_at(part.range, *piece + 1, part.pieces.count())};
    }
  }
  return std::nullopt;
}

void BulkRun::work(std::size_t home) noexcept {
  while (const std::optional<IndexRange> piece = take_piece(home)) {
    run(*piece);
    pieces_.drop();
  }
}

void BulkRun::run(IndexRange piece) noexcept {
  if (failed_.load(std::memory_order_relaxed)) {
    return;
  }
  try {
    if (!run_loop_here(piece, body_, options_, &failed_).ok()) {
      cut_short_.store(true, std::memory_order_relaxed);  // Handed on by pieces_, as all below.
    }
  } catch (...) {
    if (!failed_.exchange(true, std::memory_order_relaxed)) {
      exception_ = std::current_exception();
    }
  }
}

Status BulkRun::wait() {
  pieces_.wait();
  if (exception_ != nullptr) {
    std::rethrow_exception(exception_);
  }
  return cut_short_.load(std::memory_order_relaxed) ? cancelled_status() : Status();
}

}  // namespace pinion
