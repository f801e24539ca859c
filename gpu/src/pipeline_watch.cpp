// How long work on a device takes, and what becomes of a device that does not end it.

#include <algorithm>
#include <memory>
#include <vector>

#include "pipeline_state.hpp"

namespace pinion {
namespace {

constexpr double kLongest = 1e18;  // Of a Duration, in nanoseconds; some years.

std::uint64_t byte_count_of(const std::vector<DeviceWork>& batch) {
  std::uint64_t sum = 0;
  for (const DeviceWork& work : batch) {
    sum += byte_count(work);
  }
  return sum;
}

}  // namespace

void Pipeline::State::watch(Slot& slot) {
  const MutexLock lock(mutex_);
  slot.ids.clear();
  for (const DeviceWork& work : slot.batch) {
    slot.ids.push_back(work.id);
  }
  slot.number = ++begun_count_;
  slot.begun = timer_.clock().now();
  slot.deadline = slot.begun + hang_time(slot);
  slot.is_first = time_per_byte_ == 0.0;
  if (!watched_ || *slot.deadline < *watched_) {
    call_watchdog(*slot.deadline);
  }
}

void Pipeline::State::call_watchdog(Instant deadline) {
  watched_ = deadline;
  timer_.call_at(deadline, [weak = weak_from_this(), deadline] {
    if (const std::shared_ptr<State> self = weak.lock()) {
      self->look_for_hang(deadline);
    }
  });
}

void Pipeline::State::look_for_hang(Instant due) {
  DeviceHang hang;
  {
    const MutexLock lock(mutex_);
    if (watched_ != due) {
      return;  // Another call, for an earlier time, took the place of this one.
    }
    watched_.reset();
    const Slot* const first = first_due();
    if (first == nullptr) {
      return;
    }
    if (*first->deadline > due) {
      call_watchdog(*first->deadline);
      return;
    }
    hang = {.ids = ids_on_device(),
            .limit = *first->deadline - first->begun,
            .is_first = first->is_first};
    ++open_count_;  // The device stays until this is over.
  }
  // Of one that has failed meanwhile its work says so.
  if (options_.on_hang && device_.fault() == DeviceFault::kNone) {
    options_.on_hang(hang);
  }
  device_.abandon();
  close(1);
}

const Pipeline::State::Slot* Pipeline::State::first_due() const {
  const Slot* first = nullptr;
  for (const Slot& slot : slots_) {
    if (slot.deadline && (first == nullptr || *slot.deadline < *first->deadline)) {
      first = &slot;
    }
  }
  return first;
}

std::vector<std::uint64_t> Pipeline::State::ids_on_device() const {
  std::vector<const Slot*> watched;
  for (const Slot& slot : slots_) {
    if (slot.deadline) {
      watched.push_back(&slot);
    }
  }
  std::sort(watched.begin(), watched.end(),
            [](const Slot* a, const Slot* b) { return a->number < b->number; });
  std::vector<std::uint64_t> ids;
  for (const Slot* const slot : watched) {
    ids.insert(ids.end(), slot->ids.begin(), slot->ids.end());
  }
  return ids;
}

Duration Pipeline::State::hang_time(const Slot& slot) const {
  if (time_per_byte_ == 0.0) {
    return options_.hang.first;
  }
  const auto size_bytes = static_cast<double>(byte_count_of(slot.batch));
  const double expected = time_per_byte_ * size_bytes * options_.hang.factor;
  const double least = static_cast<double>(options_.hang.least.count());
  return Duration(static_cast<Duration::rep>(std::clamp(expected, least, kLongest)));
}

void Pipeline::State::measure(const Slot& slot) {
  // A mean in which the last ones count most, so that it follows a device that becomes slower.
  constexpr double kNewShare = 0.25;
  const Duration time = timer_.clock().now() - slot.begun;
  const std::uint64_t bytes = byte_count_of(slot.batch);
  const double measured = static_cast<double>(time.count() + 1) / static_cast<double>(bytes);
  time_per_byte_ =
      time_per_byte_ == 0.0 ? measured : (1.0 - kNewShare) * time_per_byte_ + kNewShare * measured;
  // What came to an idle device says nothing of what one that is fed takes for it.
  const Instant now = slot.begun + time;
  if (slot.batch.front().takes_batches && (slot.begun < last_end_ || usage_.depth == 1)) {
    batch_sizes_[slot.batch.front().kernel].measured(
        bytes, now - std::max(slot.begun, last_end_) + Duration(1));
  }
  last_end_ = now;
}

}  // namespace pinion
