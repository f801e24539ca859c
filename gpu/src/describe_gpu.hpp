#pragma once

#include <pinion/core/device.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// What a machine's topology tells of a GPU: who it is, and which memory and usable CPUs are near.
/// A GPU that is near no single node has the memory nearest to the first node and no near CPUs.
[[nodiscard]] DeviceInfo describe_gpu(const GpuInfo& gpu, const Topology& topology);

}  // namespace pinion
