#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <pinion/numa/cpu_list.hpp>

#include "text_columns.hpp"
#include "topology_devices.hpp"
#include "topology_view.hpp"
#include "topology_words.hpp"

namespace pinion {
namespace {

TextRow row_of(const NumaNode& node) {
  const bool renumbered = node.os_index != node.place.index;
  TextRow row = {fmt::format("node {}", node.place.index) +
                     (renumbered ? fmt::format(" (OS {})", node.os_index) : ""),
                 in_gibibytes(node.memory_bytes), printable(node.memory_kind)};
  if (node.cpus.empty()) {
    row.emplace_back("memory only");
  } else {
    row.push_back(number_of(node.core_count, "core"));
    row.push_back("CPUs " + format_cpu_list(node.cpus));
    row.push_back(node.usable_cpus.size() == node.cpus.size() ? "all usable"
                  : node.usable_cpus.empty()                  ? "none usable"
                                             : "usable " + format_cpu_list(node.usable_cpus));
  }
  if (!node.memory_usable) {
    row.back() += ", memory not usable";
  }
  return row;
}

// One line for each device that `wanted` chooses; GPUs first.
std::vector<std::string> device_lines(const Topology& topology,
                                      const std::function<bool(std::optional<Place>)>& wanted) {
  std::vector<TextRow> rows;
  for (const GpuInfo& gpu : topology.gpus()) {
    if (wanted(gpu.near_node)) {
      rows.push_back({fmt::format("GPU {}", gpu.place.index), gpu.bus_id, printable(gpu.name)});
    }
  }
  for (const NicInfo& nic : topology.nics()) {
    if (wanted(nic.near_node)) {
      const std::string interfaces = interfaces_of(nic);
      rows.push_back(
          {"NIC", nic.bus_id, printable(nic.name) + (interfaces.empty() ? "" : "  " + interfaces)});
    }
  }
  return align(rows);
}

// Draws the lines below one heading; `rows` are the aligned lines of all nodes.
void draw_nodes(const Topology& topology, std::optional<unsigned> package,
                const std::vector<std::string>& rows, std::string& text) {
  std::vector<const NumaNode*> nodes;
  for (const NumaNode& node : topology.nodes()) {
    if (node.package == package) {
      nodes.push_back(&node);
    }
  }
  if (nodes.empty()) {
    return;
  }
  text += package ? fmt::format("\npackage {}\n", *package) : "\nin no single package\n";
  for (const NumaNode* node : nodes) {
    const bool last_node = node == nodes.back();
    text += (last_node ? "`-- " : "|-- ") + rows[node->place.index] + "\n";
    const std::vector<std::string> devices =
        device_lines(topology, [node](std::optional<Place> near) { return near == node->place; });
    for (const std::string& device : devices) {
      text += last_node ? "    " : "|   ";
      text += (&device == &devices.back() ? "`-- " : "|-- ") + device + "\n";
    }
  }
}

void draw_other_devices(const Topology& topology, std::string& text) {
  const std::vector<std::string> devices =
      device_lines(topology, [](std::optional<Place> near) { return !near; });
  for (const std::string& device : devices) {
    text += (&device == &devices.front() ? "\nnear no single node\n    " : "    ") + device + "\n";
  }
}

void draw_kinds(const Topology& topology, std::string& text) {
  if (topology.cpu_kinds().size() < 2) {
    return;
  }
  std::vector<TextRow> rows;
  for (std::size_t i = 0; i < topology.cpu_kinds().size(); ++i) {
    const CpuKind& kind = topology.cpu_kinds()[i];
    rows.push_back(
        {rank_of_kind(topology, i), "CPUs " + format_cpu_list(kind.cpus), printable(kind.name)});
  }
  text += "\nkinds of cores\n";
  for (const std::string& line : align(rows)) {
    text += "    " + line + "\n";
  }
}

void draw_distances(const Topology& topology, std::string& text) {
  if (!has_distances(topology)) {
    return;
  }
  const std::size_t count = topology.nodes().size();
  text += "\ndistance from the CPUs of a node (row) to memory (column)\n" + std::string(6, ' ');
  for (std::size_t column = 0; column < count; ++column) {
    text += fmt::format("{:>6}", column);
  }
  text += "\n";
  for (std::size_t row = 0; row < count; ++row) {
    text += fmt::format("{:>6}", row);
    for (std::size_t column = 0; column < count; ++column) {
      text += fmt::format(" {:>5}", *topology.distance(row, column));
    }
    text += "\n";
  }
}

}  // namespace

std::string draw_tree(const TopologyView& view) {
  const Topology& topology = view.topology;
  std::string text = whose_machine(topology) + "\n  " + summary_of(topology) +
                     "\n  usable: " + usable_of(topology) + "\n";
  if (view.memory) {
    text += fmt::format("  memory: at most {}, says {}\n          {} of it available, says {}\n",
                        in_gibibytes(view.memory->limit.bytes), view.memory->limit.source,
                        in_gibibytes(view.memory->available.bytes), view.memory->available.source);
  }
  std::vector<TextRow> rows;
  for (const NumaNode& node : topology.nodes()) {
    rows.push_back(row_of(node));
  }
  const std::vector<std::string> lines = align(rows, 1);
  for (unsigned package = 0; package < topology.package_count(); ++package) {
    draw_nodes(topology, package, lines, text);
  }
  draw_nodes(topology, std::nullopt, lines, text);
  draw_other_devices(topology, text);
  draw_kinds(topology, text);
  if (const std::string devices = draw_devices(view, "    "); !devices.empty()) {
    text += "\nGPUs that the driver shows to this process\n" + devices;
  }
  draw_distances(topology, text);
  return text;
}

}  // namespace pinion
