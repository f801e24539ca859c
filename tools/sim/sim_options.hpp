#pragma once

#include <cstdint>
#include <vector>

#include <pinion/shard/protocol/coordinator.hpp>

#include "sim/sim_random.hpp"

namespace pinion::sim {

/// What the program computes in one step: for each partition, the sum of one value a shard. The
/// sums of an ordered step depend on the order of joining and on which shards share a batch.
struct StepShape {
  std::vector<std::uint64_t> shard_bytes = {};  ///< Index = shard.
  std::uint32_t partition_count = 0;
  std::uint32_t ordered_batch_shard_count = 0;

  [[nodiscard]] protocol::MapUnits map_units() const {
    return {.shard_count = shard_bytes.size(),
            .ordered_batch_shard_count = ordered_batch_shard_count};
  }
  [[nodiscard]] std::uint64_t join(std::uint64_t sum, std::uint64_t value) const {
    return (map_units().ordered() ? mix(sum) : sum) + value;
  }
};

/// One run, wholly derived from its seed.
struct SimOptions {
  std::uint64_t seed = 0;
  std::uint32_t rank_count = 1;
  std::uint64_t step_count = 1;
  std::uint32_t worker_count = 1;
  std::uint32_t lease_count_max = 1;
  std::uint64_t batch_shard_max = 1;
  Duration lease_duration = std::chrono::milliseconds(200);
  Duration heartbeat = std::chrono::milliseconds(60);
  Duration plan_patience = std::chrono::milliseconds(50);

  std::uint32_t planner_rank = 0;  ///< The only one that can plan, unless every rank can.
  bool every_rank_plans = true;
  std::uint32_t steadfast_rank = 0;  ///< May crash, but always returns.

  double body_failure = 0;
  double batch_discard = 0;
  double slow_body = 0;
  double resent_report = 0;
  double link_stall = 0;
  Duration chaos_end = {};  ///< After this much virtual time nothing crashes or pauses.
  Duration chaos_interval = {};

  protocol::CoordinatorMutations mutations = {};

  static SimOptions of_seed(std::uint64_t seed);

  [[nodiscard]] StepShape shape_of(std::uint64_t step) const;
  [[nodiscard]] std::uint64_t value_of(std::uint64_t step, std::uint64_t shard,
                                       std::uint32_t partition) const {
    return mix(mix(mix(seed ^ step) ^ shard) ^ partition);
  }
  /// What `partition` must be, computed without any of the code under test.
  [[nodiscard]] std::uint64_t oracle(std::uint64_t step, std::uint32_t partition) const;
};

}  // namespace pinion::sim
