#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <pinion/shard/protocol/coordinator.hpp>
#include <pinion/shard/protocol/journal_format.hpp>
#include <pinion/shard/protocol/rank_machine.hpp>

#include "sim/sim_faults.hpp"
#include "sim/sim_random.hpp"

namespace pinion::sim {

/// What the program computes in one step: for each partition, the sum of one value a shard. The
/// sums of an ordered step depend on the order of joining and on which shards share a batch.
struct StepShape {
  std::vector<std::uint16_t> shard_bytes = {};  ///< Index = shard.
  std::uint32_t partition_count = 0;
  std::uint32_t ordered_batch_shard_count = 0;
  std::uint64_t base = 0;                        ///< From which values are drawn.
  std::optional<std::uint64_t> poison = {};      ///< A shard whose body never succeeds.
  std::optional<std::uint64_t> only_shard = {};  ///< Its unit is run and no other.
  bool skip_bad = false;                         ///< The unit of the poison counts for nothing.
  bool has_devices = false;                      ///< Some shards run on devices only.
  Duration shard_deadline = {};                  ///< Zero: none.
  bool combines = false;                         ///< Hosts may combine their partials.

  [[nodiscard]] protocol::MapUnits map_units() const {
    return {.shard_count = shard_bytes.size(),
            .ordered_batch_shard_count = ordered_batch_shard_count};
  }
  /// Whether the answer is without the shard.
  [[nodiscard]] bool is_left_out(std::uint64_t shard) const {
    if (!only_shard && !(skip_bad && poison)) {
      return false;
    }
    const std::uint64_t per_unit = map_units().shards_per_unit();
    const std::uint64_t unit = shard / per_unit;
    return (only_shard && unit != *only_shard / per_unit) ||
           (skip_bad && poison && unit == *poison / per_unit);
  }
  [[nodiscard]] std::uint64_t left_out_count() const;
  [[nodiscard]] bool needs_device(std::uint64_t shard) const {
    return has_devices && value_of(shard) % 8 == 0;
  }
  /// Asks for the memory of what a report of the unit says, where units are shards.
  void make_ready(std::uint64_t unit) const { __builtin_prefetch(shard_bytes.data() + unit); }
  /// What a shard gives, and what becomes of it in a partition.
  [[nodiscard]] std::uint64_t value_of(std::uint64_t shard) const {
    return mix(base + shard * 0x9e3779b97f4a7c15U);
  }
  [[nodiscard]] static std::uint64_t in_partition(std::uint64_t value, std::uint64_t partition) {
    return value * (2 * partition + 1);
  }
  [[nodiscard]] std::uint64_t join(std::uint64_t sum, std::uint64_t value) const {
    return (ordered_batch_shard_count > 0 ? mix(sum) : sum) + value;
  }
  /// What the partitions must be, computed without any of the code under test.
  [[nodiscard]] std::vector<std::uint64_t> oracle() const;
};

/// Rules that whoever drives the state machines has to keep, to break one each.
struct DriverMutations {
  bool reply_before_sync = false;  ///< What depends on a record is done before that is safe.
  bool cut_log_early = false;      ///< A log ends before the snapshot that replaces it is safe.
  bool ignore_damage = false;      ///< Partials are taken from a journal without a look at them.
  bool wall_clock = false;         ///< The coordinator is told the time of day, which jumps.
  bool release_before_accept = false;  ///< A rank lets go of its output as it reports it.
  bool double_timer = false;           ///< A timer that has fired is set twice.
  protocol::JournalMutations journal = {};
};

/// One run, wholly derived from these. The members that are plain numbers are options of
/// `pinion sim`, by the same names.
struct SimOptions {
  std::uint64_t seed = 0;
  std::uint64_t rank_count = 1;
  std::uint64_t host_count = 1;  ///< Each has ranks that follow each other.
  std::uint64_t step_count = 1;
  std::uint64_t shard_count = 100;
  std::uint64_t partition_count = 1;
  std::uint64_t ordered_batch_shard_count = 0;
  /// Each step is drawn: its shards and partitions up to those above, sometimes none, sometimes
  /// ordered.
  bool varied = false;
  std::uint64_t worker_count = 1;
  std::uint64_t lease_count_max = 16;
  /// Leases that a rank wants to have that wait or run; 0: it claims by all that it holds.
  std::uint64_t wanted_count = 0;
  std::uint64_t batch_shard_max = 8;
  Duration lease_duration = std::chrono::milliseconds(200);
  Duration heartbeat = std::chrono::milliseconds(60);
  Duration plan_patience = std::chrono::milliseconds(50);
  /// After which a shard that was granted has failed; zero: never. Not where bad shards are left
  /// out, as which they will be is to be known beforehand; nor is `death_count_max`.
  Duration shard_deadline = {};
  Duration body_max = std::chrono::milliseconds(15);
  Duration latency_max = std::chrono::microseconds(3000);

  std::uint64_t attempt_count_max = 4;  ///< Bodies fail less often; at least 2.
  /// Ranks that die with a unit and nothing else before it is given up; 0: any number, as chaos
  /// kills more often than any real program dies.
  std::uint64_t death_count_max = 0;
  bool second_attempts = true;

  bool skip_bad = false;
  bool only_one = false;  ///< Whether steps run `only_shard` alone, where they have it.
  std::uint64_t only_shard = 0;
  bool devices = false;  ///< Ranks say where they work; some shards need a device.
  bool combine = false;  ///< Hosts may combine their partials.

  bool journal = false;              ///< Whether the coordinator's decisions outlive it.
  bool every_rank_plans = true;      ///< Else only the steadfast one can.
  std::uint64_t steadfast_rank = 0;  ///< May crash, but always returns.

  Faults faults = {};
  Duration chaos_end = {};        ///< After this much virtual time nothing crashes or stands still.
  std::uint64_t wire_period = 1;  ///< Every so many messages one is encoded and decoded.

  protocol::CoordinatorMutations mutations = {};
  protocol::RankMutations rank_mutations = {};
  DriverMutations driver_mutations = {};

  /// Each knob and fault from its range: see sim_knobs.hpp and Faults::draw().
  static SimOptions of_seed(std::uint64_t seed);

  [[nodiscard]] bool journaled() const { return journal || faults[Fault::kHeadCrash] > 0; }

  /// The steadfast rank has one, so that every step can end.
  [[nodiscard]] bool has_device(std::uint32_t rank) const {
    return devices && (rank == steadfast_rank || mix(seed + rank) % 2 == 0);
  }
  [[nodiscard]] std::uint32_t host_of(std::uint32_t rank) const {
    return static_cast<std::uint32_t>(rank * host_count / rank_count);
  }

  /// As `pinion sim` takes it.
  [[nodiscard]] std::string to_string() const;

  [[nodiscard]] StepShape shape_of(std::uint64_t step) const;
};

}  // namespace pinion::sim
