#include "describe_gpu.hpp"

#include <algorithm>

namespace pinion {

DeviceInfo describe_gpu(const GpuInfo& gpu, const Topology& topology) {
  DeviceInfo info{.place = gpu.place,
                  .name = gpu.name,
                  .uuid = gpu.uuid,
                  .pci_bus_id = gpu.bus_id,
                  .near_memory = topology.nearest_memory(
                      gpu.near_node.value_or(topology.nodes().front().place))};
  if (gpu.near_node) {
    info.near_cpus = topology.nodes()[gpu.near_node->index].usable_cpus;
    std::sort(info.near_cpus.begin(), info.near_cpus.end());
  }
  return info;
}

}  // namespace pinion
