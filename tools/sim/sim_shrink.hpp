#pragma once

#include <cstdint>
#include <string>

#include "sim/sim_options.hpp"

namespace pinion::sim {

struct ShrunkCase {
  SimOptions options = {};
  std::string violation = {};
  std::uint64_t run_count = 0;
};

/// A smaller case that fails too, though perhaps otherwise: with fewer ranks, steps, shards,
/// partitions, workers, a shorter chaos, the usual rules, and without the faults that it does not
/// need.
/// Precondition: `options` fails.
[[nodiscard]] ShrunkCase shrink(const SimOptions& options, std::uint64_t run_count_max = 500);

}  // namespace pinion::sim
