#pragma once

#include <string>
#include <vector>

#include <pinion/gpu/device_discovery.hpp>

#include "text_columns.hpp"
#include "topology_view.hpp"

namespace pinion {

/// A row for each device with a heading: number, bus id, name, memory, what kernels are built for,
/// the near node and CPUs, UUID, and of a slice the device that it is part of.
[[nodiscard]] std::vector<TextRow> device_rows(const DeviceDiscovery& discovery);

/// device_rows() and the messages as lines, each with `indent` in front; empty when there is
/// nothing to say.
[[nodiscard]] std::string draw_devices(const TopologyView& view, const std::string& indent);

}  // namespace pinion
