#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <pinion/core/assert.hpp>
#include <pinion/core/clock.hpp>

namespace pinion::sim {

enum class EventKind : std::uint16_t {
  kStartProcess,
  kProcessEnds,    ///< One that has left in good order, or has seen its connection break.
  kAtCoordinator,  ///< A message, or word of a life, comes over a link. Payload: of the world.
  kLossIsKnown,    ///< The coordinator's host learns of a death. Payload: of the world.
  kAtRank,         ///< A message comes over a link. Payload: of the world.
  kPlanIsMade,     ///< Payload: the step.
  kBodyEnds,       ///< Payload: the run of the worker.
  kBatchIsSealed,  ///< Payload: of the world.
  kNextStep,
  kRankTick,  ///< Payload: which timer.
  kCoordinatorTick,
  kFault,
  kDiskIsDone,  ///< Payload: which life of the head.
  kHeadResumes,
  kHostLossIsKnown,  ///< Payload: the host. Life: which life of the head.
};

/// What is to happen, and to whom.
struct SimEvent {
  Instant when = {};
  std::uint64_t order = 0;  ///< Among those of the same time. The queue's.
  std::uint32_t rank = 0;
  std::uint32_t life = 0;  ///< Of the rank; each process is another.
  std::uint32_t payload = 0;
  EventKind kind = EventKind::kFault;
  std::uint16_t worker = 0;
};
static_assert(sizeof(SimEvent) == 32);

/// Virtual time: what is to happen, earliest first, ties in the order in which they were added.
///
/// A wheel of wheels: buckets of 66 us, 512 of which fill one of the next wheel, and so on. Adding
/// costs a bucket's end, taking costs the sorting of a bucket that holds few.
class EventQueue {
 public:
  [[nodiscard]] Instant now() const noexcept { return now_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Adds `event` at `when`, or now when that has passed.
  void at(Instant when, SimEvent event) {
    event.order = ++count_;
    again(when, event);
  }
  /// Adds an event that was taken again, in its old place among the others of its new time.
  void again(Instant when, SimEvent event) {
    event.when = std::max(when, now_);
    ++size_;
    place(event);
  }

  /// Goes on to the next event. False when nothing is left to happen.
  bool take(SimEvent& event) {
    if (size_ == 0) {
      return false;
    }
    --size_;
    while (open_.empty() && late_.empty()) {
      advance();
    }
    if (late_.empty()) {
      event = open_.back();
      open_.pop_back();
    } else {
      take_beside_late(event);
    }
    now_ = event.when;
    return true;
  }

  /// What is likely to be taken after `ahead` others, or nothing. Only to make memory ready for it.
  [[nodiscard]] const SimEvent* likely(std::size_t ahead) const noexcept {
    return ahead < open_.size() ? &open_[open_.size() - 1 - ahead] : nullptr;
  }

 private:
  static constexpr unsigned kBucketBits = 16;
  static constexpr unsigned kWheelBits = 9;
  static constexpr std::size_t kWheelSize = std::size_t{1} << kWheelBits;
  static constexpr std::size_t kWheelCount = 5;

  struct Wheel {
    std::array<std::vector<SimEvent>, kWheelSize> buckets = {};
    std::array<std::uint64_t, kWheelSize / 64> filled = {};  ///< A bit for each bucket.
  };

  /// The highest bit in which a time differs from that of the open bucket says in which wheel it
  /// belongs: all before it are equal, so that wheel has not turned past it yet.
  void place(SimEvent event) {
    const auto when = static_cast<std::uint64_t>(event.when.time_since_epoch().count());
    const std::uint64_t ahead = (when ^ opened_) >> kBucketBits;
    if (ahead == 0) {
      place_in_open(event);
      return;
    }
    const unsigned level = (static_cast<unsigned>(std::bit_width(ahead)) - 1) / kWheelBits;
    PINION_ASSERT(level < kWheelCount);
    const std::size_t bucket = (when >> (kBucketBits + level * kWheelBits)) % kWheelSize;
    Wheel& wheel = wheels_[level];
    // Member by member: what was just made of small parts cannot be copied by large ones at once.
    wheel.buckets[bucket].emplace_back() = event;
    wheel.filled[bucket / 64] |= std::uint64_t{1} << (bucket % 64);
  }
  void place_in_open(SimEvent event);
  /// The next one of the open bucket, or of what was added to it since.
  void take_beside_late(SimEvent& event);
  /// Opens the next bucket that holds something. Precondition: there is one.
  void advance();

  Instant now_{std::chrono::seconds(1)};
  std::uint64_t count_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t opened_ = 0;           ///< Where the open bucket begins.
  std::vector<SimEvent> open_ = {};    ///< What it held, latest first.
  std::vector<SimEvent> late_ = {};    ///< What was added to it since: a heap, earliest first.
  std::vector<SimEvent> spread_ = {};  ///< A bucket of a higher wheel on its way down.
  std::array<Wheel, kWheelCount> wheels_ = {};
};

}  // namespace pinion::sim
