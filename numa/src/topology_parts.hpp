#pragma once

#include "topology_state.hpp"

namespace pinion::detail {

/// Fills in the GPUs and network adapters. Precondition: the nodes are there.
void read_devices(TopologyState& state);

/// Fills in the kinds of CPUs. Precondition: the cores are there. False when memory is short.
[[nodiscard]] bool read_cpu_kinds(TopologyState& state);

}  // namespace pinion::detail
