#include <algorithm>
#include <utility>

#include "run_state.hpp"

namespace pinion {

// The index of the task's place among those of the executor; `otherwise` for one without.
std::uint32_t RunState::place_of(std::uint32_t position, std::uint32_t otherwise) const noexcept {
  if (!tables->has_places) {
    return otherwise;
  }
  const std::optional<Place>& place = tables->options_at(position).place;
  return place ? static_cast<std::uint32_t>(std::find(places.begin(), places.end(), *place) -
                                            places.begin())
               : otherwise;
}

// A lane that takes all roots leaves some of those without a place to other places.
void RunState::take_root(Lane& lane, std::uint32_t index) noexcept {
  const std::uint32_t position = tables->roots[index];
  if (tables->has_places && tables->has_priorities) {
    const auto place_count = static_cast<std::uint32_t>(places.size());
    if (const std::uint32_t place = place_of(position, index % place_count); place != lane.place) {
      return send(place, position);
    }
  }
  lane.ready.push(position);
}

// Puts a ready task where it will be found: into a list of the lane, or the inbox of another place.
void RunState::deliver(Lane& lane, std::uint32_t entry) noexcept {
  const std::uint32_t position = entry & ~(kMark | kResumed);
  if (const std::uint32_t place = place_of(position, lane.place); place != lane.place) {
    return send(place, entry);
  }
  switch (tables->options_at(position).priority) {
    case TaskPriority::kHigh:
      return lane.urgent.push(entry);
    case TaskPriority::kNormal:
      return lane.ready.push(entry);
    case TaskPriority::kLow:
      return lane.idle.push(entry);
  }
}

// What came to the middle list from elsewhere goes where it belongs.
void RunState::sort_ready(Lane& lane) noexcept {
  if (!tables->has_places && !tables->has_priorities) {
    return;
  }
  ReadyList found;
  std::swap(found, lane.ready);
  // The oldest first, as they lay.
  std::uint32_t entry = 0;
  while (found.take_oldest(entry)) {
    deliver(lane, entry);
  }
}

ReadyList* RunState::first_list(Lane& lane) noexcept {
  for (ReadyList* const list : {&lane.urgent, &lane.ready, &lane.idle}) {
    if (!list->empty()) {
      return list;
    }
  }
  return nullptr;
}

void RunState::send(std::uint32_t place, std::uint32_t entry) noexcept {
  {
    const MutexLock lock(mutex);
    if (!inboxes[place].put(entry)) {
      return;
    }
  }
  call_visit(place);
}

// For what came into the inbox of the place.
void RunState::call_visit(std::uint32_t place) noexcept {
  helper_calls.enter();
  if (!call_helper(/*wait_if_full=*/true, place).ok()) {
    // A worker, deep in tasks of others that wait for a full queue: it does the work itself.
    helper_calls.enter();
    add_reference();
    visit(nullptr, place);
  }
}

// Moves what was sent to the lane's middle list.
bool RunState::take_inbox(Lane& lane) noexcept {
  Inbox<>& inbox = inboxes[lane.place];
  if (inbox.empty()) {
    return false;
  }
  const MutexLock lock(mutex);
  return inbox.take(lane.ready);
}

}  // namespace pinion
