#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

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
/// A wheel of wheels: buckets of 4 us, 512 of which fill one of the next wheel, and so on. Adding
/// costs a bucket's end, taking costs the sorting of a bucket that holds few.
class EventQueue {
 public:
  [[nodiscard]] Instant now() const noexcept { return now_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Adds `event` at `when`, or now when that has passed.
  void at(Instant when, SimEvent event);
  /// Adds an event that was taken again, in its old place among the others of its new time.
  void again(Instant when, SimEvent event);

  /// Goes on to the next event. False when nothing is left to happen.
  bool take(SimEvent& event);

 private:
  static constexpr unsigned kBucketBits = 12;
  static constexpr unsigned kWheelBits = 9;
  static constexpr std::size_t kWheelSize = std::size_t{1} << kWheelBits;
  static constexpr std::size_t kWheelCount = 5;

  struct Wheel {
    std::array<std::vector<SimEvent>, kWheelSize> buckets = {};
    std::array<std::uint64_t, kWheelSize / 64> filled = {};  ///< A bit for each bucket.
  };

  void place(const SimEvent& event);
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
