#pragma once

#include <hwloc.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include <pinion/numa/topology.hpp>

namespace pinion::detail {

struct HwlocTopologyDeleter {
  void operator()(hwloc_topology_t topology) const noexcept { hwloc_topology_destroy(topology); }
};
using HwlocTopology =
    std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, HwlocTopologyDeleter>;

struct HwlocBitmapDeleter {
  void operator()(hwloc_bitmap_t bitmap) const noexcept { hwloc_bitmap_free(bitmap); }
};
using HwlocBitmap = std::unique_ptr<std::remove_pointer_t<hwloc_bitmap_t>, HwlocBitmapDeleter>;

struct TopologyState {
  HwlocTopology hwloc;
  bool this_machine = false;
  std::vector<NumaNode> nodes;
  std::vector<GpuInfo> gpus;
  std::vector<NicInfo> nics;
  std::vector<CpuKind> cpu_kinds;
  std::size_t package_count = 0;
  std::size_t core_count = 0;
  std::size_t cpu_count = 0;
  std::size_t usable_cpu_count = 0;
  std::optional<double> cpu_quota;
  std::unordered_map<unsigned, unsigned> core_of_cpu;
  std::vector<std::uint64_t> distances;  // Row by row, one row a reader; empty when not known.
};

}  // namespace pinion::detail
