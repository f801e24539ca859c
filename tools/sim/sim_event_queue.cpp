#include "sim/sim_event_queue.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion::sim {
namespace {

std::uint64_t nanoseconds(Instant when) {
  return static_cast<std::uint64_t>(when.time_since_epoch().count());
}

bool later(const SimEvent& a, const SimEvent& b) {
  return a.when != b.when ? a.when > b.when : a.order > b.order;
}

}  // namespace

void EventQueue::at(Instant when, SimEvent event) {
  event.order = ++count_;
  again(when, event);
}

void EventQueue::again(Instant when, SimEvent event) {
  event.when = std::max(when, now_);
  ++size_;
  place(event);
}

bool EventQueue::take(SimEvent& event) {
  if (size_ == 0) {
    return false;
  }
  --size_;
  while (open_.empty() && late_.empty()) {
    advance();
  }
  if (late_.empty() || (!open_.empty() && later(late_.front(), open_.back()))) {
    event = open_.back();
    open_.pop_back();
  } else {
    std::pop_heap(late_.begin(), late_.end(), later);
    event = late_.back();
    late_.pop_back();
  }
  now_ = event.when;
  return true;
}

/// The highest bit in which a time differs from that of the open bucket says in which wheel it
/// belongs: all before it are equal, so that wheel has not turned past it yet.
void EventQueue::place(const SimEvent& event) {
  const std::uint64_t when = nanoseconds(event.when);
  const std::uint64_t ahead = (when ^ opened_) >> kBucketBits;
  if (ahead == 0) {
    late_.push_back(event);
    std::push_heap(late_.begin(), late_.end(), later);
    return;
  }
  const unsigned level = (static_cast<unsigned>(std::bit_width(ahead)) - 1) / kWheelBits;
  PINION_ASSERT(level < kWheelCount);
  const std::size_t bucket = (when >> (kBucketBits + level * kWheelBits)) % kWheelSize;
  Wheel& wheel = wheels_[level];
  wheel.buckets[bucket].push_back(event);
  wheel.filled[bucket / 64] |= std::uint64_t{1} << (bucket % 64);
}

void EventQueue::advance() {
  for (unsigned level = 0; level < kWheelCount; ++level) {
    Wheel& wheel = wheels_[level];
    const auto word = std::find_if(wheel.filled.begin(), wheel.filled.end(),
                                   [](std::uint64_t bits) { return bits != 0; });
    if (word == wheel.filled.end()) {
      continue;
    }
    // Buckets before the open one are empty, so the first that is filled is the next.
    const auto bucket = static_cast<std::size_t>(word - wheel.filled.begin()) * 64 +
                        static_cast<std::size_t>(std::countr_zero(*word));
    *word &= *word - 1;
    const unsigned shift = kBucketBits + level * kWheelBits;
    const std::uint64_t below = (std::uint64_t{1} << (shift + kWheelBits)) - 1;
    opened_ = (opened_ & ~below) | (std::uint64_t{bucket} << shift);
    if (level == 0) {
      open_.swap(wheel.buckets[bucket]);
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
