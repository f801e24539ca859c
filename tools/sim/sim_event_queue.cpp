#include "sim/sim_event_queue.hpp"

#include <algorithm>
#include <utility>

namespace pinion::sim {
namespace {

bool later(const SimEvent& a, const SimEvent& b) {
  return a.when != b.when ? a.when > b.when : a.order > b.order;
}

}  // namespace

void EventQueue::take_beside_late(SimEvent& event) {
  if (!open_.empty() && later(late_.front(), open_.back())) {
    event = open_.back();
    open_.pop_back();
    return;
  }
  std::pop_heap(late_.begin(), late_.end(), later);
  event = late_.back();
  late_.pop_back();
}

void EventQueue::place_in_open(SimEvent event) {
  late_.push_back(event);
  std::push_heap(late_.begin(), late_.end(), later);
}

void EventQueue::advance() {
  for (unsigned level = 0; level < kWheelCount; ++level) {
    Wheel& wheel = wheels_[level];
    const unsigned shift = kBucketBits + level * kWheelBits;
    // Buckets before the open one are empty, so the first that is filled is the next.
    const auto from = static_cast<std::ptrdiff_t>((opened_ >> shift) % kWheelSize / 64);
    const auto word = std::find_if(wheel.filled.begin() + from, wheel.filled.end(),
                                   [](std::uint64_t bits) { return bits != 0; });
    if (word == wheel.filled.end()) {
      continue;
    }
    const auto bucket = static_cast<std::size_t>(word - wheel.filled.begin()) * 64 +
                        static_cast<std::size_t>(std::countr_zero(*word));
    *word &= *word - 1;
    const std::uint64_t below = (std::uint64_t{1} << (shift + kWheelBits)) - 1;
    opened_ = (opened_ & ~below) | (std::uint64_t{bucket} << shift);
    if (level == 0) {
      std::vector<SimEvent>& filled = wheel.buckets[bucket];
      if (filled.size() == 1) {
        open_.push_back(filled.front());
        filled.clear();
        return;
      }
      open_.swap(filled);
      std::sort(open_.begin(), open_.end(), later);
      return;
    }
    spread_.swap(wheel.buckets[bucket]);
    for (const SimEvent& event : spread_) {
      place(event);
    }
    spread_.clear();
    return;
  }
  PINION_ASSERT(false);
}

}  // namespace pinion::sim
