#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <pinion/core/status.hpp>

#include "sim/sim_random.hpp"

namespace pinion::sim {

/// What goes wrong, and how often.
enum class Fault : std::uint8_t {
  kDrop,       ///< A connection breaks; what is in flight on it is lost, in both directions.
  kDuplicate,  ///< A message arrives twice.
  kStall,      ///< A message, and what follows it on its link, is late.
  kPartition,  ///< Nothing arrives from a group of ranks, nor at them, for a while.
  kOneWay,     ///< The same in one direction.
  kCrash,
  kGone,  ///< Of the crashes, those after which the rank does not return.
  kPause,
  kSlow,       ///< A life of a rank computes at an eighth of the speed.
  kDrift,      ///< The most that the clock of a rank is wrong, either way.
  kClockJump,  ///< The clock of a rank jumps, either way.
  kBodyFails,
  kBodyStalls,  ///< A body takes longer than a lease lasts.
  kDiscard,     ///< A worker gives a batch back.
  kDiffers,     ///< An output is not what another run of the same body makes.
  kPoison,      ///< A step has a shard whose body never succeeds.
  kHeadCrash,   ///< The coordinator dies with every rank; the job is resumed from its journal.
  kTornWrite,   ///< Of the crashes of the head: the last write is there in part, or as rubbish.
  kBitFlip,     ///< Of the crashes of the head: a bit of the journal has changed.
  kShortWrite,  ///< The disk takes a part of a write.
  kNoSpace,     ///< A write fails as the disk is full.
  kWriteError,  ///< A write, or a sync, fails.
  kHostCrash,   ///< A host is lost with its ranks and the blobs that it holds.
  kDrain,       ///< A rank asks to be given nothing more.
  kBodyHangs,   ///< A body never ends; only where shards have a deadline.
};
inline constexpr std::size_t kFaultCount = 25;

/// How the number of a fault is meant.
enum class FaultUnit : std::uint8_t {
  kPerMessage,
  kPerRankSecond,
  kPerSecond,
  kPerCase,  ///< Of what the fault is about: a body, a crash, a step, a write.
  kShare,    ///< Of one: of a clock's speed.
};

/// A fault with the range from which a seed draws how often it comes.
struct FaultInfo {
  std::string_view name;
  FaultUnit unit;
  double most;  ///< Least is 0, which half of the seeds have.
  std::string_view meaning;
};

[[nodiscard]] const FaultInfo& info(Fault fault);
[[nodiscard]] std::span<const FaultInfo> fault_table();

/// How often each fault comes; 0: never.
class Faults {
 public:
  [[nodiscard]] double operator[](Fault fault) const {
    return values_[static_cast<std::size_t>(fault)];
  }
  void set(Fault fault, double value) { values_[static_cast<std::size_t>(fault)] = value; }
  [[nodiscard]] bool any() const;

  /// Each from its range.
  static Faults draw(Random& random);

  /// From "crash=0.5,drop=0.01". Errors: kInvalidArgument, with the names that there are.
  static Result<Faults> parse(std::string_view text);
  /// What parse() takes; empty when nothing goes wrong.
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const Faults&, const Faults&) = default;

 private:
  std::array<double, kFaultCount> values_ = {};
};

/// How often each fault came in a run.
struct FaultCounts {
  std::array<std::uint64_t, kFaultCount> of = {};

  void add(Fault fault) { ++of[static_cast<std::size_t>(fault)]; }
  [[nodiscard]] std::uint64_t operator[](Fault fault) const {
    return of[static_cast<std::size_t>(fault)];
  }
  [[nodiscard]] std::uint64_t total() const;
  FaultCounts& operator+=(const FaultCounts& other);
};

}  // namespace pinion::sim
