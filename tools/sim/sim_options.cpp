#include "sim/sim_options.hpp"

#include <algorithm>
#include <utility>

namespace pinion::sim {

using namespace std::chrono_literals;

SimOptions SimOptions::of_seed(std::uint64_t seed) {
  Random random(mix(seed));
  SimOptions options;
  options.seed = seed;
  options.rank_count = static_cast<std::uint32_t>(random.between(1, 5));
  options.step_count = random.between(1, 4);
  options.worker_count = static_cast<std::uint32_t>(random.between(1, 3));
  options.lease_count_max = static_cast<std::uint32_t>(random.between(1, 10));
  options.batch_shard_max = random.between(1, 6);
  options.every_rank_plans = random.chance(0.6);
  options.steadfast_rank = static_cast<std::uint32_t>(random.below(options.rank_count));
  options.planner_rank = options.steadfast_rank;
  const bool calm = random.chance(0.1);
  if (calm) {
    return options;
  }
  options.body_failure = random.chance(0.5) ? 0.05 : 0;
  options.batch_discard = random.chance(0.5) ? 0.03 : 0;
  options.slow_body = random.chance(0.5) ? 0.03 : 0;
  options.resent_report = random.chance(0.5) ? 0.1 : 0;
  options.link_stall = random.chance(0.5) ? 0.02 : 0;
  options.chaos_end = random.between(Duration(100ms), Duration(2s));
  options.chaos_interval = random.between(Duration(10ms), Duration(300ms));
  return options;
}

StepShape SimOptions::shape_of(std::uint64_t step) const {
  Random random(mix(seed) ^ mix(step));
  StepShape shape;
  const bool empty = random.chance(0.1);
  shape.shard_bytes.resize(empty ? 0 : random.between(1, 30));
  for (std::uint64_t& bytes : shape.shard_bytes) {
    bytes = random.below(4) * 1000;
  }
  shape.partition_count = static_cast<std::uint32_t>(random.between(0, 4));
  if (random.chance(0.4)) {
    shape.ordered_batch_shard_count = static_cast<std::uint32_t>(random.between(1, 5));
  }
  return shape;
}

std::uint64_t SimOptions::oracle(std::uint64_t step, std::uint32_t partition) const {
  const StepShape shape = shape_of(step);
  const std::uint64_t batch_shard_count = std::max(1U, shape.ordered_batch_shard_count);
  std::uint64_t sum = 0;
  std::uint64_t of_batch = 0;
  for (std::uint64_t shard = 0; shard < shape.shard_bytes.size(); ++shard) {
    of_batch = shape.join(of_batch, value_of(step, shard, partition));
    if ((shard + 1) % batch_shard_count == 0 || shard + 1 == shape.shard_bytes.size()) {
      sum = shape.join(sum, std::exchange(of_batch, 0));
    }
  }
  return sum;
}

}  // namespace pinion::sim
