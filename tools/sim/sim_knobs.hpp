#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "sim/sim_random.hpp"

namespace pinion::sim {

/// What a seed draws of a job, beside its faults.
enum class Knob : std::uint8_t {
  kRanks,
  kSteps,
  kShards,
  kPartitions,
  kWorkers,
  kLeases,
  kBatch,
  kBody,
  kLatency,
  kOnePlanner,
  kWanted,
  kHosts,
  kHostForEachRank,
  kSkipBad,
  kOnlyShard,
  kDevices,
  kCombine,
  kShardDeadline,
  kCalm,
  kChaos,
  kEmptyStep,
  kOrdered,
  kLease,
  kHeartbeat,
  kPatience,
  kAttempts,
  kDeaths,
  kNoSecondAttempts,
};
inline constexpr std::size_t kKnobCount = 28;

/// From where to where a knob is drawn, and in which share of the seeds; the others leave it alone.
/// A flag has a share only.
struct KnobInfo {
  std::string_view name;  ///< Of the option of `pinion sim`, where it is one.
  double share = 1;
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  std::uint64_t grain = 1;  ///< What is drawn is a multiple of it.

  [[nodiscard]] bool is_flag() const noexcept { return most == 0; }
};

[[nodiscard]] const KnobInfo& info(Knob knob);
[[nodiscard]] std::span<const KnobInfo> knob_table();

/// Whether a seed is among those that draw the knob, or have the flag.
[[nodiscard]] bool comes(Knob knob, Random& random);
/// A number from the range. Precondition: it is no flag.
[[nodiscard]] std::uint64_t draw(Knob knob, Random& random);

}  // namespace pinion::sim
