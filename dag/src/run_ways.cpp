#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "run_state.hpp"

namespace pinion {
namespace {

using detail::BodyEnd;

// The least work that a lane gets of a level: some ten times what it takes to say that it has
// ended.
constexpr double kSliceTime = 1500;
// What a lane takes at once, and so may hold up the others with when its worker is stopped.
constexpr double kPartTime = 1000;
constexpr std::uint32_t kPartSizeMax = 256;

// A run that takes so many times as long as the best before is of another kind, and counts.
constexpr double kPatience = 4;
constexpr Duration kPatienceMin = std::chrono::microseconds(200);

// What convert() knows of a task.
constexpr std::uint8_t kNotBegun = 0;
constexpr std::uint8_t kEndedWell = 1;
constexpr std::uint8_t kWaits = 2;  // For somebody outside, or another attempt.
constexpr std::uint8_t kEndedBadly = 3;

}  // namespace

void RunState::begin_way() noexcept {
  way_chosen = choose_way();
  way.store(way_chosen, std::memory_order_relaxed);
  convert_at.store(kNone, std::memory_order_relaxed);
  sweep_next = 0;
  const MutexLock lock(mutex);
  is_converting = false;
  for (std::size_t place = 0; place < inbox_count; ++place) {
    inboxes[place].reset(/*is_shut=*/way_chosen != RunWay::kCounting);
  }
}

RunWay RunState::choose_way() noexcept {
  const double unit_count = tables->unit_count();
  double task_work = 0;
  RunWay chosen = RunWay::kCounting;
  patience = Duration::max();
  if (!tables->has_places && !tables->has_priorities && tables->task_count() > 0) {
    const MutexLock lock(tables->mutex);
    chosen = tables->forced_way ? *tables->forced_way
             : lanes.size() == 1
                 ? RunWay::kSweep
                 : tables->way_choice.choose(lanes.size(), unit_count / tables->level_count());
    task_work = tables->way_choice.work_of_task();
    if (const double best = tables->way_choice.best_time(); best > 0) {
      patience = kPatienceMin +
                 Duration(static_cast<std::int64_t>(kPatience * best * tables->task_count()));
    }
  }
  begun_at = SystemClock().now();
  if (chosen == RunWay::kWaves) {
    const double unit_work = std::max(task_work * tables->task_count() / unit_count, 1.0);
    part_size = static_cast<std::uint32_t>(
        std::clamp(kPartTime / unit_work, 1.0, static_cast<double>(kPartSizeMax)));
    waves.reset(tables->level_begins.data(), tables->level_count(), lanes.size(),
                task_work > 0 ? static_cast<std::uint32_t>(std::ceil(kSliceTime / unit_work)) : 1);
    for (const std::unique_ptr<Lane>& lane : lanes) {
      lane->slice = waves.slice(0, lane->index);
    }
  }
  return chosen;
}

// Of a run that ended well, for the choice of the next one.
void RunState::note_time() noexcept {
  if (!end_status.ok() || lanes.size() == 1 || tables->task_count() == 0) {
    return;
  }
  const Duration time = SystemClock().now() - begun_at;
  const MutexLock lock(tables->mutex);
  tables->way_choice.note(way_chosen, lanes.size(),
                          static_cast<double>(time.count()) / tables->task_count());
}

// Runs all tasks in the order of the tables. One lane does, in one visit after the other.
RunState::WayEnd RunState::sweep(Lane& lane) noexcept {
  TaskRecord* const records = tables->records.data();
  const std::uint32_t count = tables->task_count();
  for (;;) {
    const std::uint32_t begin = sweep_next;
    const std::uint32_t end = begin + std::min(lane.left, count - begin);
    std::uint32_t position = begin;
    bool counts = false;
    while (position != end && !counts) {
      // Relaxed: as in work().
      const BodyEnd body_end = flags.load(std::memory_order_relaxed) != 0
                                   ? begin_rare(lane, records[position], position)
                                   : run_task(lane, records[position], position);
      if (body_end != BodyEnd::kDone) [[unlikely]] {
        if (body_end == BodyEnd::kDropped) {
          break;
        }
        counts = end_apart(lane, position, body_end);
      }
      ++position;
    }
    sweep_next = position;
    lane.left -= position - begin;
    if (counts || lane.left > 0) {
      return !end_counted(lane) && counts && convert(lane) ? WayEnd::kConverted : WayEnd::kNothing;
    }
    if (const Look look = look_in_way(lane); look != Look::kGoOn) {
      return look == Look::kTimeIsOver ? WayEnd::kLater : WayEnd::kNothing;
    }
    if (convert_at.load(std::memory_order_relaxed) != kNone && convert(lane)) {
      return WayEnd::kConverted;
    }
  }
}

// What comes after a task that has not ended well. True: the run is to be counted, as what follows
// the task must not run, or not yet.
bool RunState::end_apart(Lane& lane, std::uint32_t position, BodyEnd end) noexcept {
  const bool skips = end_unwell(lane, position, end);
  const TaskRecord* const record = &tables->records[position];
  if (skips && !record->chained() && record->first_successor == record[1].first_successor) {
    return false;
  }
  lane.unwell.push(skips ? position | kMark : position);
  // Relaxed: whoever sees that the level has ended sees it.
  convert_at.store(lane.level + 1, std::memory_order_relaxed);
  return true;
}

// What a lane does now and then. Look::kTimeIsOver only if there is more to do.
RunState::Look RunState::look_in_way(Lane& lane) noexcept {
  if (end_counted(lane)) {
    return Look::kRunHasEnded;
  }
  const bool is_over = time_is_over(lane);
  lane.left = lane.tasks_per_look;
  if (lane.looked - begun_at > patience) {
    convert_at.store(lane.level + 1, std::memory_order_relaxed);
  }
  if (way_chosen == RunWay::kWaves) {
    call_for_level(lane);
  }
  return is_over ? Look::kTimeIsOver : Look::kGoOn;
}

// Counts what has ended since the last look. True: the run has ended.
bool RunState::end_counted(Lane& lane) noexcept {
  const std::uint32_t ended = lane.tasks_per_look - lane.left - std::exchange(lane.held_count, 0);
  lane.left = lane.tasks_per_look;
  return end_tasks(ended);
}

// In a run that was cancelled, what had begun and has ended by now. What follows does not begin.
RunState::WayEnd RunState::end_resumed(Lane& lane) noexcept {
  while (!lane.ready.empty() || take_inbox(lane)) {
    const std::uint32_t entry = lane.ready.pop();
    const std::uint32_t position = entry & ~(kMark | kResumed);
    const BodyEnd end = begin_rare(lane, tables->records[position], entry);
    if (end != BodyEnd::kDone) {
      end_unwell(lane, position, end);
    }
    if (end_tasks(1)) {
      return WayEnd::kNothing;
    }
  }
  return WayEnd::kNothing;
}

// From now on the run counts. Nobody runs a task now, but for those of other runs. False: another
// lane does this, or the run was cancelled.
bool RunState::convert(Lane& lane) noexcept {
  {
    const MutexLock lock(mutex);
    if (is_cancelled() || std::exchange(is_converting, true)) {
      return false;
    }
  }
  release_begun(lane, /*run_has_ended=*/false);
  way.store(RunWay::kCounting, std::memory_order_release);  // Pairs with work_as_needed().
  std::vector<std::uint32_t> filled;
  {
    const MutexLock lock(mutex);
    for (std::uint32_t place = 0; place < inbox_count; ++place) {
      if (inboxes[place].open() && place != lane.place) {
        filled.push_back(place);
      }
    }
  }
  for (const std::uint32_t place : filled) {
    call_visit(place);
  }
  return true;
}

// For a run that was cancelled, so that what is held can end.
void RunState::open_inboxes() noexcept {
  std::vector<std::uint32_t> filled;
  {
    const MutexLock lock(mutex);
    if (is_converting || way.load(std::memory_order_relaxed) == RunWay::kCounting) {
      return;
    }
    for (std::uint32_t place = 0; place < inbox_count; ++place) {
      if (inboxes[place].open()) {
        filled.push_back(place);
      }
    }
  }
  for (const std::uint32_t place : filled) {
    call_visit(place);
  }
}

// Counts for the tasks that have begun, and puts into the lane's list what is ready. What is
// unwell counts when it ends; if the run has ended, now. Precondition: nobody is in the way.
void RunState::release_begun(Lane& lane, bool run_has_ended) noexcept {
  const std::uint32_t count = tables->task_count();
  std::vector<std::uint8_t> tasks(count, kNotBegun);
  mark_begun(tasks.data());
  const Outcomes* const known = outcomes_made.load(std::memory_order_acquire);
  for (const std::unique_ptr<Lane>& other : lanes) {
    std::uint32_t entry = 0;
    while (other->unwell.take_oldest(entry)) {
      const std::uint32_t position = entry & ~kMark;
      const bool has_failed =
          known != nullptr &&
          known->states[position].load(std::memory_order_relaxed) == TaskState::kFailed;
      tasks[position] = entry != position || has_failed ? kEndedBadly
                        : run_has_ended                 ? kEndedWell
                                                        : kWaits;
    }
  }
  for (std::uint32_t position = 0; position < count; ++position) {
    const TaskRecord* const record = &tables->records[position];
    if (tasks[position] == kEndedBadly) {
      skip_successors(lane, position);
    } else if (tasks[position] == kEndedWell && record->chained()) {
      if (tasks[position + 1] == kNotBegun) {
        lane.ready.push(position + 1);
      }
    } else if (tasks[position] == kEndedWell) {
      for (std::uint32_t i = record->first_successor; i < record[1].first_successor; ++i) {
        const std::uint32_t successor = tables->successors[i];
        std::uint32_t entry = successor & ~kMark;
        if (tasks[entry] != kNotBegun) {
          continue;
        }
        if (entry == successor) {
          if (!count_down</*Alone=*/true>(counters[entry], entry, entry)) {
            continue;
          }
          counters[successor].store(tables->records[successor].predecessor_count(),
                                    std::memory_order_relaxed);
        }
        lane.ready.push(entry);
      }
    }
  }
  for (const std::uint32_t position : tables->roots) {
    if (tasks[position] == kNotBegun) {
      lane.ready.push(position);
    }
  }
  next_root.store(static_cast<std::uint32_t>(tables->roots.size()), std::memory_order_relaxed);
}

// Marks every task that has begun.
void RunState::mark_begun(std::uint8_t* tasks) noexcept {
  if (way.load(std::memory_order_relaxed) == RunWay::kSweep) {
    std::fill(tasks, tasks + sweep_next, kEndedWell);
    return;
  }
  const auto mark_from = [&](std::uint32_t position, std::uint8_t mark) {
    tasks[position] = mark;
    while (tables->records[position].chained()) {
      tasks[++position] = mark;
    }
  };
  const auto mark_units = [&](UnitRange units, std::uint8_t mark) {
    for (std::uint32_t unit = units.begin; unit < units.end; ++unit) {
      mark_from(tables->unit_heads[unit], mark);
    }
  };
  const std::uint32_t level = waves.level_from(0);
  const bool has_ended = level == tables->level_count();
  mark_units({0, tables->level_begins[has_ended ? level : level + 1]}, kEndedWell);
  for (std::uint32_t lane = 0; lane < waves.lane_count(); ++lane) {
    if (!has_ended) {
      mark_units(waves.seat(lane).left(waves.slice(level, lane)), kNotBegun);
    }
    mark_units(lanes[lane]->part, kNotBegun);
    if (lanes[lane]->chain_next != kNone) {
      mark_from(lanes[lane]->chain_next, kNotBegun);
    }
    // What follows an unwell task in its chain.
    ReadyList& unwell = lanes[lane]->unwell;
    for (std::uint32_t i = 0; i < unwell.size(); ++i) {
      const std::uint32_t position = unwell.at(i) & ~kMark;
      if (tables->records[position].chained()) {
        mark_from(position + 1, kNotBegun);
      }
    }
  }
}

}  // namespace pinion
