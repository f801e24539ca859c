#pragma once

#include <cstddef>
#include <vector>

#include <pinion/numa/placement.hpp>

namespace pinion {

/// place_ranks(), with `worker_limit` in place of the topology's worker_count_max().
/// Precondition: 1 <= worker_limit <= topology.usable_cpu_count().
[[nodiscard]] Result<std::vector<RankPlacement>> place_ranks_within(const Topology& topology,
                                                                    const PlacementRequest& request,
                                                                    std::size_t worker_limit);

}  // namespace pinion
