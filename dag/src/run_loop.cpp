#include <chrono>
#include <exception>
#include <new>

#include "run_state.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pinion {
namespace {

using detail::BodyEnd;

constexpr std::uint32_t kNone = UINT32_MAX;

// A visit that lasts this long lets the executor's other tasks go first. Long against the hundred
// nanoseconds of a submission, short for whoever waits.
constexpr Duration kVisitTime = std::chrono::milliseconds(1);
constexpr std::uint32_t kTasksPerLookMax = 256;

// How often a lane without work looks at the others before its worker goes away: about a
// microsecond, some ten times what the transfer of an offer takes.
constexpr int kLooks = 32;

void pause_cpu() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm __volatile__("isb");
#endif
}

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

// Has some worker visit a free lane. It counts as one that looks for work already.
Status RunState::call_helper(bool wait_if_full) {
  const std::uint32_t turn =
      places.size() == 1 ? 0 : next_place.fetch_add(1, std::memory_order_relaxed);
  const Place place = places[turn % places.size()];
  add_reference();
  const auto visit_lane = [this] { visit(nullptr); };
  Status status =
      wait_if_full ? executor->submit(place, visit_lane) : executor->try_submit(place, visit_lane);
  if (!status.ok()) {
    helper_calls.leave();
    drop_reference();
  }
  return status;
}

void RunState::visit(Lane* lane) noexcept {
  if (lane == nullptr) {
    lane = enter_free_lane();
    if (lane == nullptr) {
      helper_calls.leave();
      return drop_reference();
    }
    if (claim_roots(*lane)) {
      helper_calls.leave();
    } else if (!wait_for_offer(*lane)) {
      lane->taken.store(false, std::memory_order_release);
      return drop_reference();
    }
  }
  lane->begin = lane->looked = SystemClock().now();
  for (;;) {
    const bool has_more = lanes.size() == 1 ? work<true>(*lane) : work<false>(*lane);
    if (!has_more) {
      lane->taken.store(false, std::memory_order_release);  // Pairs with enter_free_lane().
      return drop_reference();
    }
    if (executor->try_submit(places[0], [this, lane] { visit(lane); }).ok()) {
      return;  // The next visit has this one's reference.
    }
    lane->begin = lane->looked;
  }
}

RunState::Lane* RunState::enter_free_lane() noexcept {
  // Its own first, whose memory is in this worker's cache.
  const std::size_t own = executor->current_worker();
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    Lane& lane = *lanes[(own + i) % lanes.size()];
    // Pairs with the store when a visit leaves: what the lane holds is handed over.
    if (!lane.taken.load(std::memory_order_relaxed) &&
        !lane.taken.exchange(true, std::memory_order_acquire)) {
      return &lane;
    }
  }
  return nullptr;
}

BodyEnd RunState::run_task(Lane& lane, TaskRecord& record, std::uint32_t position) noexcept {
  lane.context.position_ = position;
  try {
    return record.body.invoke(record.body.storage, lane.context);
  } catch (...) {
    lane.ending.exception = std::current_exception();
    return BodyEnd::kFailed;
  }
}

// The next task to run, or kNone; the others that became ready are in the lane's list.
template <bool kAlone>
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
    if (entry == *successor && !count_down<kAlone>(view.counters[entry], entry, entry)) {
      continue;
    }
    if (next != kNone) {
      lane.ready.push(next);
    }
    next = entry;
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

// True: there is more to do, later. False: there is nothing to do for this lane.
template <bool kAlone>
bool RunState::work(Lane& lane) noexcept {
  const View view = {.records = tables->records.data(),
                     .successors = tables->successors.data(),
                     .counters = counters.get()};
  std::uint32_t left = lane.tasks_per_look;
  std::uint32_t entry = lane.ready.pop();
  for (;;) {
    if constexpr (!kAlone) {
      if (lane.slot.empty() && !lane.ready.empty()) {
        offer(lane);
      }
    }
    const std::uint32_t position = entry & ~kMark;
    TaskRecord& record = view.records[position];
    prefetch_successors(view, record);
    if (const std::uint32_t predecessors = record.predecessor_count(); predecessors > 1) {
      // Armed for the next run. Handed on with the state.
      view.counters[position].store(predecessors, std::memory_order_relaxed);
    }
    // Relaxed: a cancellation may be seen one task later; begin_rare() reads what belongs to it.
    const bool is_rare = entry != position || flags.load(std::memory_order_relaxed) != 0;
    const BodyEnd end =
        is_rare ? begin_rare(lane, record, entry) : run_task(lane, record, position);
    std::uint32_t next = kNone;
    if (end == BodyEnd::kDone) [[likely]] {
      next = release_successors<kAlone>(view, lane, record, position);
    } else {
      end_rare(lane, position, end);
    }
    if (--left == 0) {
      if (next != kNone) {
        lane.ready.push(next);
        next = kNone;
      }
      const std::uint32_t ended = lane.tasks_per_look;
      const bool is_over = time_is_over(lane);
      if (end_tasks(ended)) {
        return false;
      }
      left = lane.tasks_per_look;
      if (is_over && !lane.ready.empty()) {
        return true;
      }
    }
    if (next == kNone) {
      if (lane.ready.empty()) {
        const std::uint32_t ended = lane.tasks_per_look - left;
        left = lane.tasks_per_look;
        if (end_tasks(ended) || !find_work(lane)) {
          return false;
        }
      }
      next = lane.ready.pop();
    }
    entry = next;
  }
}

// True: the run has ended.
bool RunState::end_tasks(std::uint64_t count) noexcept {
  if (count == 0 || !open_tasks.end(count)) {
    return false;
  }
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

void RunState::offer(Lane& lane) noexcept {
  lane.slot.offer(lane.ready);
  if (helper_calls.call()) {
    // Refused when the queue is full: the workers are busy then, and the offer waits.
    static_cast<void>(call_helper(/*wait_if_full=*/false));
  }
}

bool RunState::find_work(Lane& lane) noexcept {
  if (lane.slot.take(lane.ready) || claim_roots(lane)) {
    return true;
  }
  if (lanes.size() == 1) {
    return false;
  }
  helper_calls.enter();
  return wait_for_offer(lane);
}

bool RunState::claim_roots(Lane& lane) noexcept {
  const auto root_count = static_cast<std::uint32_t>(tables->roots.size());
  if (next_root.load(std::memory_order_relaxed) >= root_count) {
    return false;
  }
  // Few at a time when there are few, so that all lanes have some; the rest goes by offers.
  const auto share = static_cast<std::uint32_t>(root_count / (lanes.size() * 8));
  const std::uint32_t count = std::clamp(share, std::uint32_t{1}, OfferSlot<>::kCountMax);
  const std::uint32_t first = next_root.fetch_add(count, std::memory_order_relaxed);
  if (first >= root_count) {
    return false;
  }
  // The first one last, which is then the first to run, as the tables lie.
  for (std::uint32_t i = std::min(first + count, root_count); i > first; --i) {
    lane.ready.push(tables->roots[i - 1]);
  }
  return true;
}

bool RunState::look_at_slots(Lane& lane) noexcept {
  for (std::size_t i = 1; i <= lanes.size(); ++i) {
    Lane& other = *lanes[(lane.index + i) % lanes.size()];
    if (other.slot.full() && other.slot.take(lane.ready)) {
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
