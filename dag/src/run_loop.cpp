#include <algorithm>
#include <chrono>
#include <exception>

#include <pinion/core/detail/pause_cpu.hpp>

#include "run_state.hpp"

namespace pinion {
namespace {

using detail::BodyEnd;

// A visit that lasts this long lets the executor's other tasks go first. Long against the hundred
// nanoseconds of a submission, short for whoever waits.
constexpr Duration kVisitTime = std::chrono::milliseconds(1);
constexpr std::uint32_t kTasksPerLookMax = 256;

// How often a lane without work looks at the others before its worker goes away: about a
// microsecond, some ten times what the transfer of an offer takes.
constexpr int kLooks = 32;

// Asks for the line of a counter that is counted down soon, to have it when the body has ended: on
// a line that another core wrote last, that is most of what an edge costs.
inline void prefetch_to_write(const std::atomic<std::uint32_t>& counter) noexcept {
#if defined(__x86_64__)
  asm("prefetchw %0" : : "m"(counter));
#else
  __builtin_prefetch(&counter, /*rw=*/1);
#endif
}
constexpr std::uint32_t kPrefetchedEdgesMax = 4;

}  // namespace

// Has some worker of the place visit a free lane. It counts as one that looks for work already.
Status RunState::call_helper(bool wait_if_full, std::uint32_t place) {
  add_reference();
  const auto visit_lane = [this, place] { visit(nullptr, place); };
  Status status = wait_if_full ? executor->submit(places[place], visit_lane)
                               : executor->try_submit(places[place], visit_lane);
  if (!status.ok()) {
    helper_calls.leave();
    drop_reference();
  }
  return status;
}

void RunState::visit(Lane* lane, std::uint32_t place) noexcept {
  if (!strands.enter()) {  // The run has ended meanwhile.
    if (lane == nullptr) {
      helper_calls.leave();
    }
    return drop_reference();
  }
  bool has_work = true;
  if (lane == nullptr) {
    lane = enter_free_lane(place);
    if (lane == nullptr) {
      helper_calls.leave();
      leave_run();
      return drop_reference();
    }
    if (way.load(std::memory_order_acquire) == RunWay::kCounting) {
      has_work = find_first_work(*lane);
    } else {
      helper_calls.leave();
    }
  }
  lane->begin = lane->looked = SystemClock().now();
  lane->task_end = {};
  for (;;) {
    if (has_work && work_as_needed(*lane)) {
      if (go_on_later(*lane, place)) {
        return;
      }
      lane->begin = lane->looked;
    } else if (lane->door.leave(inboxes[lane->place])) {
      leave_run();
      return drop_reference();
    } else {
      has_work = find_work(*lane);
    }
  }
}

// True: the visit is over, as another will go on in the lane, or the run has ended. False: the
// executor takes no other visit now.
bool RunState::go_on_later(Lane& lane, std::uint32_t place) noexcept {
  const bool has_ended = leave_run();
  if (!has_ended &&
      executor->try_submit(places[place], [this, &lane, place] { visit(&lane, place); }).ok()) {
    return true;  // The next visit has this one's reference.
  }
  if (!has_ended && strands.enter()) {
    return false;
  }
  drop_reference();
  return true;
}

// True: the run was cancelled, and this was the last one in it. It has ended now.
bool RunState::leave_run() noexcept {
  if (!strands.leave() || !is_cancelled() || !strands.close_empty()) {
    return false;
  }
  finish();
  return true;
}

RunState::Lane* RunState::enter_free_lane(std::uint32_t place) noexcept {
  // Its own first, whose memory is in this worker's cache.
  const std::size_t own = executor->current_worker();
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    Lane& lane = *lanes[(own + i) % lanes.size()];
    if (lane.place == place && lane.door.enter()) {
      return &lane;
    }
  }
  return nullptr;
}

// Precondition: the visit counts as one that looks.
bool RunState::find_first_work(Lane& lane) noexcept {
  if (take_inbox(lane) || claim_roots(lane)) {
    helper_calls.leave();
    sort_ready(lane);
    return first_list(lane) != nullptr || find_work(lane);
  }
  if (!wait_for_offer(lane)) {
    return false;
  }
  sort_ready(lane);
  return true;
}

// True: there is more to do, later. False: there is nothing to do for this lane.
bool RunState::work_as_needed(Lane& lane) noexcept {
  // Pairs with convert().
  if (const RunWay now = way.load(std::memory_order_acquire); now != RunWay::kCounting) {
    const WayEnd end = is_cancelled()          ? end_resumed(lane)
                       : now == RunWay::kSweep ? sweep(lane)
                                               : work_in_waves(lane);
    if (end != WayEnd::kConverted) {
      return end == WayEnd::kLater;
    }
  }
  const bool is_alone = lanes.size() == 1;
  if (tables->has_places || tables->has_priorities) {
    return is_alone ? work<true, true>(lane) : work<false, true>(lane);
  }
  return is_alone ? work<true, false>(lane) : work<false, false>(lane);
}

// The next task to run, or kNone; the others that became ready are in the lane's lists.
template <bool Alone, bool Sorted>
inline std::uint32_t RunState::release_successors(const View& view, Lane& lane,
                                                  const TaskRecord& record,
                                                  std::uint32_t position) noexcept {
  if (record.chained()) {
    return position + 1;
  }
  std::uint32_t next = kNone;
  const std::uint32_t* const end = view.successors + (&record)[1].first_successor;
  for (const std::uint32_t* successor = view.successors + record.first_successor; successor != end;
       ++successor) {
    std::uint32_t entry = *successor & ~kMark;
    if (entry == *successor) {
      std::atomic<std::uint32_t>& counter = view.counters[entry];
      if (!count_down<Alone>(counter, entry, entry)) {
        continue;
      }
      // Armed for the next run, while its line is here. Handed on with the state.
      counter.store(view.records[*successor].predecessor_count(), std::memory_order_relaxed);
    }
    if constexpr (Sorted) {
      deliver(lane, entry);
    } else {
      if (next != kNone) {
        lane.ready.push(next);
      }
      next = entry;
    }
  }
  return next;
}

inline void RunState::prefetch_successors(const View& view, const TaskRecord& record) noexcept {
  const std::uint32_t begin = record.first_successor;
  const std::uint32_t end = std::min((&record)[1].first_successor, begin + kPrefetchedEdgesMax);
  for (std::uint32_t i = begin; i < end; ++i) {
    prefetch_to_write(view.counters[view.successors[i] & ~kMark]);
  }
}

// As work_as_needed().
template <bool Alone, bool Sorted>
bool RunState::work(Lane& lane) noexcept {
  const View view = {.records = tables->records.data(),
                     .successors = tables->successors.data(),
                     .counters = counters.get()};
  std::uint32_t left = lane.tasks_per_look;
  std::uint32_t next = kNone;
  for (;;) {
    if (next == kNone) {
      ReadyList* list = Sorted ? first_list(lane) : &lane.ready;
      if (Sorted ? list == nullptr : list->empty()) {
        const std::uint32_t ended = lane.tasks_per_look - left - std::exchange(lane.held_count, 0);
        left = lane.tasks_per_look;
        if (end_tasks(ended) || !find_work(lane)) {
          return false;
        }
        list = Sorted ? first_list(lane) : &lane.ready;
      }
      next = list->pop();
    }
    if constexpr (!Alone) {
      if (lane.slot.empty()) {
        ReadyList* const list = Sorted ? first_list(lane) : &lane.ready;
        if (Sorted ? list != nullptr : !list->empty()) {
          offer(lane, *list);
        }
      }
    }
    const std::uint32_t position = next & ~(kMark | kResumed);
    TaskRecord& record = view.records[position];
    if constexpr (!Alone) {
      prefetch_successors(view, record);
    }
    // Relaxed: a cancellation may be seen one task later; begin_rare() reads what belongs to it.
    const bool is_rare = next != position || flags.load(std::memory_order_relaxed) != 0;
    const BodyEnd end = is_rare ? begin_rare(lane, record, next) : run_task(lane, record, position);
    if (end == BodyEnd::kDone) [[likely]] {
      next = release_successors<Alone, Sorted>(view, lane, record, position);
    } else {
      end_rare(lane, next, end);
      next = kNone;
    }
    if (--left == 0) [[unlikely]] {
      if (next != kNone) {
        lane.ready.push(next);  // The chained one, in a sorted lane: any list will do.
        next = kNone;
      }
      if (const Look look = look_around(lane); look != Look::kGoOn) {
        return look == Look::kTimeIsOver;
      }
      left = lane.tasks_per_look;
    }
  }
}

// What a lane does now and then, whatever it has to do.
RunState::Look RunState::look_around(Lane& lane) noexcept {
  const std::uint32_t ended = lane.tasks_per_look - std::exchange(lane.held_count, 0);
  const bool is_over = time_is_over(lane);
  if (end_tasks(ended)) {
    return Look::kRunHasEnded;
  }
  if (take_inbox(lane)) {
    sort_ready(lane);
  }
  if (lane.slot.full()) {
    // Who was called may have been refused, or be of a place that does not take it.
    call_for_offer(lane);
  }
  return is_over && first_list(lane) != nullptr ? Look::kTimeIsOver : Look::kGoOn;
}

// True: the run has ended.
bool RunState::end_tasks(std::uint64_t count) noexcept {
  if (count == 0 || !open_tasks.end(count)) {
    return false;
  }
  strands.close();
  finish();
  return true;
}

// Looks at the clock as rarely as is enough to keep to the time.
bool RunState::time_is_over(Lane& lane) noexcept {
  const Instant now = SystemClock().now();
  const Duration since_look = now - std::exchange(lane.looked, now);
  if (since_look < kVisitTime / 16) {
    lane.tasks_per_look = std::min(2 * lane.tasks_per_look, kTasksPerLookMax);
  } else if (since_look > kVisitTime / 4) {
    lane.tasks_per_look = std::max(lane.tasks_per_look / 2, std::uint32_t{1});
  }
  return now - lane.begin >= kVisitTime;
}

void RunState::offer(Lane& lane, ReadyList& list) noexcept {
  lane.slot.offer(list);
  call_for_offer(lane);
}

void RunState::call_for_offer(const Lane& lane) noexcept {
  if (!helper_calls.call()) {
    return;
  }
  const bool stays = tables->has_places || places.size() == 1;
  const std::uint32_t turn = stays ? 0 : next_place.fetch_add(1, std::memory_order_relaxed);
  // Refused when the queue is full: the workers are busy then, and the offer waits.
  static_cast<void>(call_helper(
      /*wait_if_full=*/false,
      stays ? lane.place : turn % static_cast<std::uint32_t>(places.size())));
}

bool RunState::find_work(Lane& lane) noexcept {
  lane.task_end = {};
  while (take_inbox(lane) || lane.slot.take(lane.ready) || claim_roots(lane)) {
    sort_ready(lane);
    if (first_list(lane) != nullptr) {
      return true;
    }
  }
  if (lanes.size() == 1) {
    return false;
  }
  helper_calls.enter();
  if (!wait_for_offer(lane)) {
    return false;
  }
  sort_ready(lane);
  return true;
}

bool RunState::claim_roots(Lane& lane) noexcept {
  const auto root_count = static_cast<std::uint32_t>(tables->roots.size());
  if (next_root.load(std::memory_order_relaxed) >= root_count || is_cancelled()) {
    return false;
  }
  // Few at a time when there are few, so that all lanes have some; the rest goes by offers. Where
  // priorities decide, all at once, as the last root may be the one that comes first.
  const auto share = static_cast<std::uint32_t>(root_count / (lanes.size() * 8));
  const std::uint32_t count = tables->has_priorities
                                  ? root_count
                                  : std::clamp(share, std::uint32_t{1}, OfferSlot<>::kCountMax);
  const std::uint32_t first = next_root.fetch_add(count, std::memory_order_relaxed);
  if (first >= root_count) {
    return false;
  }
  // The first one last, which is then the first to run, as the tables lie.
  for (std::uint32_t i = std::min(first + count, root_count); i > first; --i) {
    take_root(lane, i - 1);
  }
  return true;
}

bool RunState::look_at_slots(Lane& lane) noexcept {
  for (std::size_t i = 1; i <= lanes.size(); ++i) {
    Lane& other = *lanes[(lane.index + i) % lanes.size()];
    if (other.slot.full() && (!tables->has_places || other.place == lane.place) &&
        other.slot.take(lane.ready)) {
      return true;
    }
  }
  return false;
}

// Precondition: it counts as one that looks. It does no more afterwards.
bool RunState::wait_for_offer(Lane& lane) noexcept {
  for (int look = 0; look < kLooks && open_tasks.count() > 0; ++look) {
    if (look_at_slots(lane)) {
      helper_calls.leave();
      return true;
    }
    pause_cpu();
  }
  helper_calls.leave();
  return look_at_slots(lane);
}

}  // namespace pinion
