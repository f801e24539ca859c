#include <utility>
#include <vector>

#include "run_state.hpp"

namespace pinion {

void RunState::cancel() noexcept {
  cancel_source->cancel();
  if ((flags.fetch_or(kCancelled, std::memory_order_seq_cst) & kCancelled) != 0) {
    return;
  }
  std::vector<Run*> children;
  {
    const MutexLock lock(mutex);
    for (const std::unique_ptr<Run>& child : appended) {
      children.push_back(child.get());
    }
  }
  open_inboxes();
  for (const Run* const child : children) {
    child->cancel();
  }
  end_all_retries();
}

void RunState::cancel(std::uint32_t position) {
  const MutexLock lock(mutex);
  if (cancelled_owner == nullptr) {
    cancelled_owner = std::make_unique<std::atomic<bool>[]>(tables->task_count());
    cancelled_made.store(cancelled_owner.get(), std::memory_order_release);
  }
  cancelled_owner[position].store(true, std::memory_order_relaxed);
  flags.fetch_or(kSomeCancelled, std::memory_order_release);  // Pairs with begin_rare().
}

// What is ready stays as it is: it says which tasks had not begun, should somebody ask, and there
// may be many of them. Only what was begun before has to end yet, and is left in the lists.
void RunState::drop_ready(Lane& lane, std::uint32_t entry) noexcept {
  bool some_begun = false;
  {
    const MutexLock lock(mutex);
    some_begun = !begun.empty();
  }
  if (!some_begun) {
    for (ReadyList* const list : {&lane.ready, &lane.urgent, &lane.idle}) {
      lane.dropped.take_all(*list);
    }
  }
  lane.dropped.push(entry);
}

// Whatever could have begun and did not. Precondition: the run has ended.
ReadyList RunState::take_dropped() noexcept {
  ReadyList dropped;
  for (const std::unique_ptr<Lane>& lane : lanes) {
    for (ReadyList* const list : {&lane->dropped, &lane->ready, &lane->urgent, &lane->idle}) {
      dropped.take_all(*list);
    }
    lane->slot.take(dropped);
  }
  for (std::size_t place = 0; place < inbox_count; ++place) {
    inboxes[place].take(dropped);
  }
  for (std::size_t i = next_root.load(std::memory_order_relaxed); i < tables->roots.size(); ++i) {
    dropped.push(tables->roots[i]);
  }
  return dropped;
}

// Finds the states of tasks that a cancellation kept from beginning: those that were ready, and all
// that follow them or a failure. Positions are in an order that the edges allow, so that one pass
// over the tables will do. Precondition: the run has ended.
void RunState::settle_dropped() noexcept {
  Outcomes& all = outcomes();
  const MutexLock lock(mutex);
  if (std::exchange(is_settled, true)) {
    return;
  }
  const auto settle = [&all](std::uint32_t position, bool is_marked) {
    all.states[position].store(is_marked ? TaskState::kSkipped : TaskState::kCancelled,
                               std::memory_order_relaxed);
  };
  if (way.load(std::memory_order_relaxed) != RunWay::kCounting) {
    release_begun(*lanes.front(), /*run_has_ended=*/true);
  }
  // Without a failure nothing is marked, and the counters need not be read.
  bool some_marked = !errors.empty();
  for (const std::unique_ptr<Lane>& lane : lanes) {
    some_marked = some_marked || lane->skipped_count > 0;
  }
  ReadyList dropped = take_dropped();
  std::uint32_t entry = 0;
  while (dropped.take_oldest(entry)) {
    settle(entry & ~kMark, (entry & kMark) != 0);
  }
  const auto reach = [&](std::uint32_t position) {
    if (!some_marked) {
      settle(position, /*is_marked=*/false);
    } else if (all.states[position].load(std::memory_order_relaxed) == TaskState::kOpen) {
      settle(position, (counters[position].load(std::memory_order_relaxed) & kMark) != 0);
    }
  };
  for (std::uint32_t position = 0; position < tables->task_count(); ++position) {
    const TaskState state = all.states[position].load(std::memory_order_relaxed);
    if (state == TaskState::kOpen || state == TaskState::kDone) {
      continue;
    }
    const TaskRecord* const record = &tables->records[position];
    if (record->chained()) {
      reach(position + 1);
    }
    for (std::uint32_t i = record->first_successor; i < record[1].first_successor; ++i) {
      reach(tables->successors[i] & ~kMark);
    }
  }
}

}  // namespace pinion
