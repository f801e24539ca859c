#include "sim/sim_options.hpp"

#include <algorithm>
#include <utility>

#include "sim/sim_knobs.hpp"
#include "sim/sim_mutations.hpp"

namespace pinion::sim {

using namespace std::chrono_literals;

namespace {

std::string in_milliseconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

std::string in_microseconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
}

/// The rules by which the coordinator and ranks go.
void draw_rules(SimOptions& options) {
  Random random(mix(options.seed) ^ mix(4));
  const auto draw_time = [&random](Knob knob, Duration& time) {
    if (comes(knob, random)) {
      time = draw(knob, random) * Duration(1ms);
    }
  };
  draw_time(Knob::kLease, options.lease_duration);
  draw_time(Knob::kHeartbeat, options.heartbeat);
  draw_time(Knob::kPatience, options.plan_patience);
  if (comes(Knob::kAttempts, random)) {
    options.attempt_count_max = draw(Knob::kAttempts, random);
  }
  if (comes(Knob::kDeaths, random) && !options.skip_bad) {
    options.death_count_max = draw(Knob::kDeaths, random);
  }
  options.second_attempts = !comes(Knob::kNoSecondAttempts, random);
}

}  // namespace

SimOptions SimOptions::of_seed(std::uint64_t seed) {
  Random random(mix(seed));
  SimOptions options;
  options.seed = seed;
  options.rank_count = draw(Knob::kRanks, random);
  options.step_count = draw(Knob::kSteps, random);
  options.shard_count = draw(Knob::kShards, random);
  options.partition_count = draw(Knob::kPartitions, random);
  options.varied = true;
  options.worker_count = draw(Knob::kWorkers, random);
  options.lease_count_max = draw(Knob::kLeases, random);
  options.batch_shard_max = draw(Knob::kBatch, random);
  options.body_max = draw(Knob::kBody, random) * Duration(1us);
  options.latency_max = draw(Knob::kLatency, random) * Duration(1us);
  options.every_rank_plans = random.chance(1 - info(Knob::kOnePlanner).share);
  options.steadfast_rank = random.below(options.rank_count);
  // What came later is drawn from numbers of its own, so that seeds stay much the same.
  Random added(mix(seed) ^ mix(1));
  Random combining(mix(seed) ^ mix(2));
  Random spreading(mix(seed) ^ mix(3));
  options.wanted_count = draw(Knob::kWanted, added);
  options.host_count = added.between(info(Knob::kHosts).least,
                                     std::min(info(Knob::kHosts).most, options.rank_count));
  options.skip_bad = comes(Knob::kSkipBad, added);
  options.only_one = comes(Knob::kOnlyShard, added);
  options.only_shard = added.below(options.shard_count);
  options.devices = comes(Knob::kDevices, added);
  options.combine = comes(Knob::kCombine, combining);
  if (options.combine && comes(Knob::kHostForEachRank, spreading)) {
    options.host_count = options.rank_count;  // So many that pairs of them combine.
  }
  if (comes(Knob::kShardDeadline, added) && !options.skip_bad) {
    options.shard_deadline = draw(Knob::kShardDeadline, added) * Duration(1ms);
  }
  draw_rules(options);
  if (comes(Knob::kCalm, random)) {
    return options;
  }
  options.faults = Faults::draw(random);
  options.journal = options.faults[Fault::kHeadCrash] > 0;
  options.chaos_end = draw(Knob::kChaos, random) * Duration(1ms);
  return options;
}

std::string SimOptions::to_string() const {
  std::string text =
      "--seed " + std::to_string(seed) + " --ranks " + std::to_string(rank_count) + " --steps " +
      std::to_string(step_count) + " --shards " + std::to_string(shard_count) + " --partitions " +
      std::to_string(partition_count) + " --workers " + std::to_string(worker_count) +
      " --leases " + std::to_string(lease_count_max) + " --batch " +
      std::to_string(batch_shard_max) + " --wanted " + std::to_string(wanted_count) +
      " --lease-ms " + in_milliseconds(lease_duration) + " --heartbeat-ms " +
      in_milliseconds(heartbeat) + " --patience-ms " + in_milliseconds(plan_patience) +
      " --attempts " + std::to_string(attempt_count_max) + " --body-us " +
      in_microseconds(body_max) + " --latency-us " + in_microseconds(latency_max) + " --chaos-ms " +
      in_milliseconds(chaos_end) + " --steadfast " + std::to_string(steadfast_rank) +
      " --wire-period " + std::to_string(wire_period);
  if (host_count > 1) {
    text += " --hosts " + std::to_string(host_count);
  }
  if (ordered_batch_shard_count > 0) {
    text += " --ordered " + std::to_string(ordered_batch_shard_count);
  }
  if (shard_deadline > Duration::zero()) {
    text += " --deadline-ms " + in_milliseconds(shard_deadline);
  }
  if (death_count_max > 0) {
    text += " --deaths " + std::to_string(death_count_max);
  }
  text += second_attempts ? "" : " --no-second-attempts";
  text += only_one ? " --only-shard " + std::to_string(only_shard) : "";
  text += skip_bad ? " --skip-bad" : "";
  text += devices ? " --devices" : "";
  text += combine ? " --combine" : "";
  text += varied ? " --varied" : "";
  text += every_rank_plans ? "" : " --one-planner";
  text += journal ? " --journal" : "";
  SimOptions copy = *this;
  for (const MutationInfo& mutation : mutation_table()) {
    text += mutation.flag(copy) ? " --break " + std::string(mutation.name) : "";
  }
  const std::string fault_text = faults.to_string();
  return fault_text.empty() ? text : text + " --faults " + fault_text;
}

StepShape SimOptions::shape_of(std::uint64_t step) const {
  Random random(mix(seed) ^ mix(step));
  StepShape shape;
  shape.base = random.next();
  const bool empty = varied && comes(Knob::kEmptyStep, random);
  const std::uint64_t shards =
      varied && shard_count > 0 ? random.between(1, shard_count) : shard_count;
  shape.shard_bytes.resize(empty ? 0 : shards);
  for (std::uint16_t& bytes : shape.shard_bytes) {
    bytes = static_cast<std::uint16_t>(random.below(4) * 1000);
  }
  shape.partition_count =
      static_cast<std::uint32_t>(varied ? random.between(0, partition_count) : partition_count);
  shape.ordered_batch_shard_count = static_cast<std::uint32_t>(ordered_batch_shard_count);
  if (varied && comes(Knob::kOrdered, random)) {
    shape.ordered_batch_shard_count = static_cast<std::uint32_t>(draw(Knob::kOrdered, random));
  }
  if (!shape.shard_bytes.empty() && random.chance(faults[Fault::kPoison])) {
    shape.poison = random.below(shape.shard_bytes.size());
  }
  if (only_one && only_shard < shape.shard_bytes.size()) {
    shape.only_shard = only_shard;
  }
  shape.skip_bad = skip_bad;
  shape.shard_deadline = shard_deadline;
  shape.has_devices = devices;
  shape.combines = combine && shape.ordered_batch_shard_count == 0;
  return shape;
}

std::uint64_t StepShape::left_out_count() const {
  if (!only_shard && !(skip_bad && poison)) {
    return 0;
  }
  std::uint64_t count = 0;
  for (std::uint64_t shard = 0; shard < shard_bytes.size(); ++shard) {
    count += is_left_out(shard) ? 1 : 0;
  }
  return count;
}

std::vector<std::uint64_t> StepShape::oracle() const {
  std::vector<std::uint64_t> sums(partition_count);
  if (ordered_batch_shard_count == 0) {
    std::uint64_t values = 0;
    for (std::uint64_t shard = 0; shard < shard_bytes.size(); ++shard) {
      values += is_left_out(shard) ? 0 : value_of(shard);
    }
    for (std::uint64_t partition = 0; partition < partition_count; ++partition) {
      sums[partition] = in_partition(values, partition);
    }
    return sums;
  }
  for (std::uint64_t partition = 0; partition < partition_count; ++partition) {
    std::uint64_t of_batch = 0;
    for (std::uint64_t shard = 0; shard < shard_bytes.size(); ++shard) {
      if (is_left_out(shard)) {
        continue;  // And so is the rest of its batch.
      }
      of_batch = join(of_batch, in_partition(value_of(shard), partition));
      if ((shard + 1) % ordered_batch_shard_count == 0 || shard + 1 == shard_bytes.size()) {
        sums[partition] = join(sums[partition], std::exchange(of_batch, 0));
      }
    }
  }
  return sums;
}

}  // namespace pinion::sim
