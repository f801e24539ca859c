#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <pinion/core/clock.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// A task of one Graph, and of the CompiledGraph made of it: its number in the order of adding.
struct TaskId {
  std::uint32_t index = 0;

  friend auto operator<=>(const TaskId&, const TaskId&) = default;
};

/// A task whose body returns a T, which other tasks of the graph take as an input.
template <class T>
struct ValueTask {
  TaskId id = {};
  std::uint32_t offset = 0;  ///< Where the graph keeps it.

  operator TaskId() const noexcept { return id; }  // NOLINT(google-explicit-constructor): is one.
};

/// Which of the tasks that are ready a worker takes first. Nothing that runs is interrupted.
enum class TaskPriority : std::uint8_t { kHigh, kNormal, kLow };

/// How often and when a task that failed runs again. Only errors that the error table calls
/// retryable are retried; what a body throws is kUnknown, which the table decides like the rest.
///
/// Limits and a back-off need a RunOptions::timer.
///
/// Before attempt n + 1 passes a time drawn evenly from 0 to min(backoff_max, backoff * 2^(n-1)):
/// exponential back-off with full jitter. The draw depends on the seed of the run, the task and the
/// attempt alone.
struct RetryPolicy {
  std::uint32_t attempt_count_max = 1;  ///< 1: never again.
  Duration backoff = {};                ///< 0: at once.
  Duration backoff_max = std::chrono::seconds(10);

  /// For one attempt; an attempt that ends later has failed with kDeadlineExceeded, whatever it
  /// returned. A body that runs is not interrupted; a Completion is no longer waited for, so
  /// whoever signals it must own what it touches. 0: none.
  Duration attempt_limit = {};

  /// From the begin of the first attempt; no attempt begins later, and a Completion is not waited
  /// for any longer. 0: none.
  Duration total_limit = {};
};

/// What a compensation is told.
struct CompensationContext {
  TaskId task = {};
  std::uint64_t attempt_id = 0;  ///< The same whenever it runs again for the same run.
};

struct TaskOptions {
  /// Empty: "task N". Names are unique in a graph.
  std::string name = {};

  /// Where it runs. Absent: anywhere; in a graph where some tasks have a place, where it became
  /// ready.
  std::optional<Place> place = {};

  TaskPriority priority = TaskPriority::kNormal;
  RetryPolicy retry = {};

  /// Undoes the finished task when its run fails. Compensations of a run are called one at a time,
  /// that of the task that ended last first. One that is interrupted (it throws, or returns an
  /// error that the error table calls retryable) runs again with the same attempt id, as `retry`
  /// says.
  std::function<Status(const CompensationContext&)> compensation = {};
};

}  // namespace pinion
