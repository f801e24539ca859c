#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <pinion/core/executor.hpp>
#include <pinion/core/status.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// What a rank keeps together.
enum class MapBy : std::uint8_t {
  kCore,     ///< Neighbouring cores, also across the border of a NUMA node.
  kNuma,     ///< A NUMA node: ranks are dealt to the nodes in turn, or nodes to the ranks.
  kPackage,  ///< As kNuma, with the nodes of a package, which is what fills a socket, as one.
  kGpu,      ///< The node that is nearest to a GPU: ranks are dealt to the GPUs in turn.
};

/// What the workers of a rank keep to.
enum class BindTo : std::uint8_t {
  kNone,     ///< Nothing.
  kCore,     ///< One CPU each.
  kNuma,     ///< Together, the usable CPUs of their node.
  kPackage,  ///< Together, the usable CPUs of the package of their node.
  kShare,    ///< Together, what their node has of the rank's share, which no other rank has.
};

/// A GPU, and the node that is nearest to it; none where that is not known.
struct GpuNear {
  Place place = {};
  std::optional<Place> near_node = {};
};

struct PlacementRequest {
  std::uint32_t rank_count = 1;      ///< Ranks on this host: 1 to 65536.
  std::size_t workers_per_rank = 0;  ///< At most 65536; 0: the ranks share the usable CPUs.
  MapBy map_by = MapBy::kNuma;
  BindTo bind_to = BindTo::kCore;
  bool allow_oversubscription = false;  ///< Whether several workers may share a CPU.
  std::uint32_t host = 0;               ///< Goes into the places.

  /// Operating-system numbers of the only CPUs to use; empty: all that may be used.
  std::vector<unsigned> cpus = {};

  /// The GPUs to map by; empty: those of the topology.
  std::vector<GpuNear> gpus = {};
};

/// The workers of one rank: at least one group, no place twice.
struct RankPlacement {
  std::vector<WorkerGroup> groups = {};

  /// The CPUs that the rank as a whole keeps to where the workers of each group keep to theirs
  /// together, ascending; empty where each worker is bound to one of its own, and where none is.
  std::vector<unsigned> cpus = {};

  /// The GPU that the rank is near to, when it was mapped by GPU.
  std::optional<Place> gpu = {};
};

/// Divides the CPUs that `topology` lets us use, or those of them that are asked for, over the
/// ranks of this host, in rank order. Ranks have no CPU in common, a rank stays inside one NUMA
/// node where that is possible and on whole cores where that leaves nobody short, and a rank with
/// fewer workers than CPUs takes one CPU of each core before the second of any. There are never
/// more workers than worker_count_max() unless oversubscription is allowed and asked for.
///
/// A CPU quota names no CPUs: under one, jobs that share a machine may choose the same CPUs, and
/// BindTo::kNone is the better choice unless an affinity mask divides the machine too.
///
/// Errors: kInvalidArgument for counts outside their range and for CPUs that the machine does not
///   have; kPermissionDenied for CPUs that may not be used; kResourceExhausted when the ranks need
///   more CPUs than there are and oversubscription is not allowed; kFailedPrecondition when they
///   are to be mapped by GPU and there is none.
[[nodiscard]] Result<std::vector<RankPlacement>> place_ranks(const Topology& topology,
                                                             const PlacementRequest& request);

}  // namespace pinion
