#include <string>
#include <utility>

#include <pinion/core/detail/exception_status.hpp>

#include "run_state.hpp"

namespace pinion {
namespace {

using detail::BodyEnd;

}  // namespace

// Runs the task, unless something forbids it.
BodyEnd RunState::begin_rare(Lane& lane, TaskRecord& record, std::uint32_t entry) noexcept {
  const std::uint32_t position = entry & ~(kMark | kResumed);
  // Pairs with cancel(): who sees the bit sees the list.
  const std::uint32_t why = flags.load(std::memory_order_acquire);
  if ((entry & kResumed) != 0) {
    strands.go_on();
    const bool runs_again = take_ending(position, lane.ending) && (why & kCancelled) == 0;
    if (!runs_again && (!lane.ending.status.ok() || lane.ending.exception != nullptr)) {
      return BodyEnd::kFailed;  // Cancelled before a retry: what the last attempt came to stands.
    }
    lane.ending = {};
    if (!runs_again) {
      note_done(position);
      return BodyEnd::kDone;
    }
  } else if ((why & kCancelled) != 0) {
    return BodyEnd::kDropped;
  }
  TaskState state = TaskState::kSkipped;
  if ((entry & kMark) == 0) {
    if ((why & kSomeCancelled) == 0 ||
        !cancelled_made.load(std::memory_order_relaxed)[position].load(std::memory_order_relaxed)) {
      return (why & kCareful) != 0 ? run_carefully(lane, record, position)
                                   : run_task(lane, record, position);
    }
    state = TaskState::kCancelled;
  }
  outcomes().states[position].store(state, std::memory_order_relaxed);
  ++lane.skipped_count;
  return BodyEnd::kSkipped;
}

BodyEnd RunState::run_carefully(Lane& lane, TaskRecord& record, std::uint32_t position) noexcept {
  const TaskOptions& task = tables->options_at(position);
  const bool is_limited =
      task.retry.attempt_limit > Duration::zero() || task.retry.total_limit > Duration::zero();
  const bool is_timed = is_limited || options.trace != nullptr;
  // A look at the clock takes as long as a short body: one for two ends, where nothing lies
  // between.
  const Instant begin = is_timed && lane.task_end == Instant{} ? now() : lane.task_end;
  if (options.record_states) {
    outcomes().states[position].store(TaskState::kRunning, std::memory_order_relaxed);
  }
  if (is_limited) {
    note_begin(position, begin);
  }
  BodyEnd end = run_task(lane, record, position);
  if (is_timed) {
    lane.task_end = now();
    if (end != BodyEnd::kHeld && task.retry.attempt_limit > Duration::zero() &&
        lane.task_end - begin > task.retry.attempt_limit) {
      lane.ending.exception = nullptr;
      lane.ending.status =
          Status(ErrorCode::kDeadlineExceeded,
                 "an attempt took " + std::to_string((lane.task_end - begin).count()) +
                     " ns; its limit is " + std::to_string(task.retry.attempt_limit.count()));
      end = BodyEnd::kFailed;
    }
  }
  if (options.trace != nullptr) {
    options.trace->record(executor->current_worker(),
                          {.name = task.name.empty() ? "task" : task.name.c_str(),
                           .id = tables->task_of[position],
                           .begin = begin,
                           .end = lane.task_end,
                           .place = places[lane.place]});
  }
  if (end == BodyEnd::kDone) {
    note_done(position);
  }
  return end;
}

void RunState::note_done(std::uint32_t position) noexcept {
  if (options.record_states) {
    outcomes().states[position].store(TaskState::kDone, std::memory_order_relaxed);
  }
  if (tables->has_compensations && tables->options_at(position).compensation) {
    const MutexLock lock(root->mutex);
    root->compensable.push_back({.run = this, .position = position});
  }
}

// What comes after a task that has not ended well, or not ended.
void RunState::end_rare(Lane& lane, std::uint32_t entry, BodyEnd end) noexcept {
  if (end == BodyEnd::kDropped) {
    ++lane.held_count;
    return drop_ready(lane, entry);
  }
  const std::uint32_t position = entry & ~(kMark | kResumed);
  if (end_unwell(lane, position, end)) {
    skip_successors(lane, position);
  }
}

// True: it has ended, and what follows it is skipped.
bool RunState::end_unwell(Lane& lane, std::uint32_t position, BodyEnd end) noexcept {
  if (end == BodyEnd::kFailed && !lane.ending.completions.empty()) {
    end = BodyEnd::kHeld;  // It fails when what it appended has ended.
  }
  if (end == BodyEnd::kHeld) {
    ++lane.held_count;
    hold(position, std::exchange(lane.ending, {}));
    return false;
  }
  if (end == BodyEnd::kFailed) {
    if (retry_later(position, lane.ending)) {
      ++lane.held_count;
      return false;
    }
    fail(position, std::exchange(lane.ending, {}));
  }
  return true;
}

void RunState::fail(std::uint32_t position, Ending ending) noexcept {
  if (ending.exception != nullptr) {
    ending.status = detail::status_of(ending.exception);
  }
  outcomes().states[position].store(TaskState::kFailed, std::memory_order_relaxed);
  {
    const MutexLock lock(mutex);
    for (const Run* const child : ending.appended) {
      errors.insert(errors.end(), child->errors().begin(), child->errors().end());
    }
    errors.push_back({.task = tables->name_of(tables->task_of[position]),
                      .status = std::move(ending.status),
                      .exception = std::move(ending.exception)});
  }
  if (options.on_failure == OnFailure::kStop) {
    cancel();
  }
}

void RunState::skip_successors(Lane& lane, std::uint32_t position) noexcept {
  Outcomes& all = outcomes();
  const std::uint32_t cause =
      all.states[position].load(std::memory_order_relaxed) == TaskState::kSkipped
          ? all.causes[position].load(std::memory_order_relaxed)
          : position;
  const TaskRecord* const record = &tables->records[position];
  if (record->chained()) {
    all.causes[position + 1].store(cause, std::memory_order_relaxed);
    lane.ready.push((position + 1) | kMark);
    return;
  }
  for (std::uint32_t i = record->first_successor; i < record[1].first_successor; ++i) {
    const std::uint32_t successor = tables->successors[i];
    std::uint32_t entry = successor | kMark;
    // Handed on by the count. Any of several causes will do.
    all.causes[successor & ~kMark].store(cause, std::memory_order_relaxed);
    if (successor != entry) {
      if (!count_down_marking(counters[successor], successor, entry)) {
        continue;
      }
      counters[successor].store(tables->records[successor].predecessor_count(),
                                std::memory_order_relaxed);
    }
    lane.ready.push(entry);
  }
}

Outcomes& RunState::outcomes() noexcept {
  // Pairs with the store below.
  if (Outcomes* const made = outcomes_made.load(std::memory_order_acquire)) {
    return *made;
  }
  const MutexLock lock(mutex);
  if (outcomes_owner == nullptr) {
    outcomes_owner = std::make_unique<Outcomes>(tables->task_count());
    outcomes_made.store(outcomes_owner.get(), std::memory_order_release);
  }
  return *outcomes_owner;
}

}  // namespace pinion
