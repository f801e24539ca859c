#include <pinion/core/detail/pause_cpu.hpp>

#include "run_state.hpp"

namespace pinion {
namespace {

using detail::BodyEnd;

// How often a lane looks for units before its worker goes away. A look is some twenty nanoseconds.
constexpr std::uint32_t kLooks = 256;
// And in one level, before it looks at what others have, as each look costs them a line of the
// cache, and before it takes the last few units of others.
constexpr std::uint32_t kLooksAlone = 8;
constexpr std::uint32_t kLooksForFew = 32;

// Of what others have a lane takes so many parts at once at most.
constexpr std::uint32_t kPartsOfOthersMax = 4;

}  // namespace

RunState::WayEnd RunState::work_in_waves(Lane& lane) noexcept {
  WaveSeat<>& seat = waves.seat(lane.index);
  seat.enter();
  for (;;) {
    if (lane.chain_next != kNone || !lane.part.empty() || find_part(lane)) {
      const Look look = run_part(lane);
      if (look == Look::kGoOn) {
        continue;
      }
      say_ended(lane);
      if (look == Look::kTimeIsOver) {
        return WayEnd::kLater;  // The lane counts as one with a worker meanwhile.
      }
      seat.leave();
      static_cast<void>(look == Look::kCancelled && end_counted(lane));
      return WayEnd::kNothing;
    }
    seat.leave();
    const bool run_has_ended = end_counted(lane);
    // Relaxed: the level has ended, if it is the one.
    if (lane.level >= convert_at.load(std::memory_order_relaxed)) {
      return !run_has_ended && convert(lane) ? WayEnd::kConverted : WayEnd::kNothing;
    }
    if (run_has_ended || is_cancelled() || lane.level == waves.level_count() ||
        waves.level_from(lane.level) == lane.level) {
      return WayEnd::kNothing;
    }
    seat.enter();
  }
}

// False: there is nothing for this lane, or the next level is to be counted.
bool RunState::find_part(Lane& lane) noexcept {
  // A visit before may have come here; another lane may be about to count the level.
  if (lane.level == waves.level_count() ||
      lane.level >= convert_at.load(std::memory_order_relaxed)) {
    return false;
  }
  std::uint32_t look_of_level = 0;
  for (std::uint32_t look = 0;; ++look) {
    // A part that is empty is not written: whoever converts the run may read it.
    if (const UnitRange part = waves.seat(lane.index).take_first(lane.slice, part_size);
        !part.empty()) {
      lane.part = part;
      return true;
    }
    say_ended(lane);
    if (const std::uint32_t level = waves.level_from(lane.level); level > lane.level) {
      lane.level = level;
      lane.task_end = {};
      if (level == waves.level_count() || level >= convert_at.load(std::memory_order_relaxed)) {
        return false;
      }
      lane.slice = waves.slice(level, lane.index);
      call_for_level(lane);
      look_of_level = look;
      continue;
    }
    const bool takes_few = look - look_of_level >= kLooksForFew;
    if (look - look_of_level >= kLooksAlone) {
      if (const UnitRange part = waves.take_of_others(
              lane.level, lane.index, kPartsOfOthersMax * part_size, takes_few ? 1 : part_size);
          !part.empty()) {
        lane.part = part;
        return true;
      }
    }
    if (look >= kLooks || (takes_few && lane.level + 1 == waves.level_count()) || is_cancelled()) {
      return false;
    }
    pause_cpu();
  }
}

// Has a worker come to the level if one is missing.
void RunState::call_for_level(const Lane& lane) noexcept {
  if (waves.needs_workers(lane.level)) {
    call_for_offer(lane);
  }
}

RunState::Look RunState::run_part(Lane& lane) noexcept {
  TaskRecord* const records = tables->records.data();
  const std::uint32_t* const heads = tables->unit_heads.data();
  std::uint32_t left = lane.left;
  while (lane.chain_next != kNone || !lane.part.empty()) {
    std::uint32_t position = std::exchange(lane.chain_next, kNone);
    if (position == kNone) {
      position = heads[lane.part.begin++];
    }
    // Which unit is next is looked up before this one's bodies are called: when a body ends, which
    // the processor often finds out late, that would be what the next one waits for.
    std::uint32_t unit = lane.part.begin;
    std::uint32_t next_head = heads[unit];
    for (;;) {
      __builtin_prefetch(&records[heads[unit + kUnitsAhead - 1]]);
      for (bool goes_on = true; goes_on; ++position) {
        TaskRecord& record = records[position];
        // Relaxed: as in work().
        const BodyEnd end = flags.load(std::memory_order_relaxed) != 0
                                ? begin_rare(lane, record, position)
                                : run_task(lane, record, position);
        if (end == BodyEnd::kDropped) [[unlikely]] {
          lane.left = left;
          lane.part.begin = unit;
          lane.chain_next = position;
          return Look::kCancelled;
        }
        if (end != BodyEnd::kDone) [[unlikely]] {
          lane.part.begin = unit;
          end_apart(lane, position, end);
        }
        goes_on = end == BodyEnd::kDone && record.chained();
        if (--left == 0) [[unlikely]] {
          lane.left = 0;
          lane.part.begin = unit;
          const Look look = look_in_way(lane);
          left = lane.left;
          if (look != Look::kGoOn) {
            lane.chain_next = goes_on ? position + 1 : kNone;
            lane.units_ended += goes_on ? 0 : 1;
            return look;
          }
        }
      }
      ++lane.units_ended;
      if (unit == lane.part.end) {
        break;
      }
      position = next_head;
      next_head = heads[++unit];
    }
    lane.part.begin = unit;
  }
  lane.left = left;
  return Look::kGoOn;
}

// Says how many units the lane has ended.
void RunState::say_ended(Lane& lane) noexcept {
  if (lane.units_ended > 0) {
    waves.seat(lane.index).end(std::exchange(lane.units_ended, 0));
  }
}

}  // namespace pinion
