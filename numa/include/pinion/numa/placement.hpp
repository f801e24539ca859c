#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <pinion/core/executor.hpp>
#include <pinion/core/status.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// What a rank keeps together.
enum class MapBy : std::uint8_t {
  kCore,  ///< Neighbouring cores, also across the border of a NUMA node.
  kNuma,  ///< A NUMA node: ranks are dealt to the nodes in turn, or nodes to the ranks.
};

struct PlacementRequest {
  std::uint32_t rank_count = 1;      ///< Ranks on this host: 1 to 65536.
  std::size_t workers_per_rank = 0;  ///< At most 65536; 0: the ranks share the usable CPUs.
  MapBy map_by = MapBy::kNuma;
  bool bind = true;                     ///< Whether workers keep to one CPU each.
  bool allow_oversubscription = false;  ///< Whether several workers may share a CPU.
  std::uint32_t host = 0;               ///< Goes into the places.

  /// Operating-system numbers of the only CPUs to use; empty: all that may be used.
  std::vector<unsigned> cpus = {};
};

/// The workers of one rank: at least one group, no place twice.
struct RankPlacement {
  std::vector<WorkerGroup> groups = {};
};

/// Divides the CPUs that `topology` lets us use, or those of them that are asked for, over the
/// ranks of this host, in rank order. Ranks have no CPU in common, a rank stays inside one NUMA
/// node where that is possible and on whole cores where that leaves nobody short, and a rank with
/// fewer workers than CPUs takes one CPU of each core before the second of any. There are never
/// more workers than worker_count_max() unless oversubscription is allowed and asked for.
///
/// A CPU quota names no CPUs: under one, jobs that share a machine may choose the same CPUs, and
/// `bind = false` is the better choice unless an affinity mask divides the machine too.
///
/// Errors: kInvalidArgument for counts outside their range and for CPUs that the machine does not
///   have; kPermissionDenied for CPUs that may not be used; kResourceExhausted when the ranks need
///   more CPUs than there are and oversubscription is not allowed.
[[nodiscard]] Result<std::vector<RankPlacement>> place_ranks(const Topology& topology,
                                                             const PlacementRequest& request);

}  // namespace pinion
