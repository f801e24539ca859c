#include "bulk.hpp"

#include <algorithm>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include <pinion/core/detail/exception_status.hpp>

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

// Runs what it can of the range here; false: some of it may not have run. Begins no more of it once
// there are errors of any part of the loop.
bool run_range(IndexRange range, const detail::BulkBody& body, const BulkOptions& options,
               detail::BulkErrors& errors) noexcept {
  tbb::task_group_context context;
  const auto run_piece = [&](const tbb::blocked_range<std::size_t>& piece) {
    if (options.cancel.cancelled() || errors.any()) {
      context.cancel_group_execution();
      return;
    }
    const detail::InsideTask inside;
    if (!body.run(body.object, {.begin = piece.begin(), .end = piece.end()}, options.cancel,
                  errors)) {
      context.cancel_group_execution();
    }
  };
  try {
    // Isolated: a thread that waits inside for the last pieces takes nothing else meanwhile, so
    // that a body never finds itself on top of another one that holds a lock.
    tbb::this_task_arena::isolate([&] {
      tbb::parallel_for(tbb::blocked_range<std::size_t>(range.begin, range.end, options.grain),
                        run_piece, tbb::auto_partitioner(), context);
    });
  } catch (...) {
    errors.note(range);  // Of oneTBB itself, without memory for its tasks.
  }
  // The context is cancelled with that of an outer loop, too.
  return !options.cancel.cancelled() && !context.is_group_execution_cancelled();
}

std::string words_of(IndexRange range) {
  return range.end - range.begin == 1
             ? "index " + std::to_string(range.begin)
             : "indices " + std::to_string(range.begin) + " up to " + std::to_string(range.end);
}

Status failure_of(const std::vector<BulkError>& errors, std::size_t uncollected_count) {
  const std::size_t count = errors.size() + uncollected_count;
  std::string words = std::to_string(count) +
                      (count == 1 ? " piece of the loop failed" : " pieces of the loop failed");
  for (const BulkError& error : errors) {
    words += (&error == &errors.front() ? ": " : "; ") + words_of(error.at) + ": " +
             std::string(error.status.message());
  }
  if (uncollected_count > 0) {
    words += "; there was no memory for the words of " + std::to_string(uncollected_count);
  }
  return Status(errors.front().status.code(), std::move(words));
}

// What a loop answers that has ended.
Status outcome_of(detail::BulkErrors& errors, bool all_ran, const BulkOptions& options) {
  if (errors.any()) {
    std::vector<BulkError> thrown = errors.take();
    Status status = failure_of(thrown, errors.uncollected_count());
    if (options.errors != nullptr) {
      *options.errors = std::move(thrown);
    }
    return status;
  }
  return all_ran ? Status()
                 : Status(ErrorCode::kCancelled,
                          "the loop was cancelled; some of its indices may not have run");
}

}  // namespace

void detail::note_exception(BulkErrors& errors, IndexRange at) noexcept {
  errors.note(at);
}

void detail::BulkErrors::note(IndexRange at) noexcept {
  any_.store(true, std::memory_order_relaxed);
  Thrown thrown{.at = at, .exception = std::current_exception()};
  const MutexLock lock(mutex_);
  if (first_.exception == nullptr) {
    first_ = std::move(thrown);
    return;
  }
  try {
    others_.push_back(std::move(thrown));
  } catch (const std::bad_alloc&) {
    ++uncollected_count_;
  }
}

std::vector<BulkError> detail::BulkErrors::take() {
  const MutexLock lock(mutex_);
  std::vector<BulkError> errors;
  const auto take_one = [&errors](Thrown& thrown) {
    Status status = status_of(thrown.exception);
    errors.push_back({.at = thrown.at,
                      .status = std::move(status),
                      .exception = std::exchange(thrown.exception, nullptr)});
  };
  if (first_.exception != nullptr) {
    take_one(first_);
  }
  std::for_each(others_.begin(), others_.end(), take_one);
  others_.clear();
  return errors;
}

std::size_t detail::BulkErrors::uncollected_count() {
  const MutexLock lock(mutex_);
  return uncollected_count_;
}

Status run_loop_here(IndexRange range, const detail::BulkBody& body, const BulkOptions& options) {
  detail::BulkErrors errors;
  const bool all_ran = run_range(range, body, options, errors);
  return outcome_of(errors, all_ran, options);
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
    if (!run_range(*piece, body_, options_, errors_)) {
      cut_short_.store(true, std::memory_order_relaxed);  // Handed on by pieces_, as the errors.
    }
    pieces_.drop();
  }
}

Status BulkRun::wait() {
  pieces_.wait();
  return outcome_of(errors_, !cut_short_.load(std::memory_order_relaxed), options_);
}

}  // namespace pinion
