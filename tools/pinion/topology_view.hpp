#pragma once

#include <optional>
#include <string>

#include <pinion/gpu/device_discovery.hpp>
#include <pinion/numa/memory_limits.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// What `pinion topo` shows. Lifetime: the topology outlives the view.
struct TopologyView {
  const Topology& topology;
  std::optional<MemoryLimits> memory = {};  ///< Of this machine.

  /// What a driver of this machine shows to this process, joined with the topology.
  std::optional<DeviceDiscovery> devices = {};
};

/// For people: an indented tree, lines end with '\n'.
[[nodiscard]] std::string draw_tree(const TopologyView& view);

/// For people who compare machines, and for tests: aligned tables of nodes, kinds of CPUs, devices
/// and distances, lines end with '\n'.
[[nodiscard]] std::string draw_table(const TopologyView& view);

/// For programs: one JSON object, ends with '\n'. Keys are only ever added.
[[nodiscard]] std::string write_json(const TopologyView& view);

/// A picture: packages, nodes, cores and CPUs as nested boxes, with the memory and the devices of
/// each node, and what may be used in colour. One self-contained SVG file without scripts.
[[nodiscard]] std::string draw_svg(const TopologyView& view);

}  // namespace pinion
