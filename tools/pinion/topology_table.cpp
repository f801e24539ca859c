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

// A cell that is never empty, so that the columns can be told apart.
std::string cell(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::string cell(const std::optional<Place>& node) {
  return node ? std::to_string(node->index) : "-";
}

void append(const std::vector<TextRow>& rows, std::string& text) {
  text += text.empty() ? "" : "\n";
  for (const std::string& line : align(rows)) {
    text += line + "\n";
  }
}

std::vector<TextRow> machine_rows(const TopologyView& view) {
  const Topology& topology = view.topology;
  std::vector<TextRow> rows = {{"machine", whose_machine(topology)},
                               {"packages", std::to_string(topology.package_count())},
                               {"nodes", std::to_string(topology.nodes().size())},
                               {"cores", std::to_string(topology.core_count())},
                               {"CPUs", std::to_string(topology.cpu_count())},
                               {"usable CPUs", std::to_string(topology.usable_cpu_count())},
                               {"workers", std::to_string(topology.worker_count_max())}};
  if (view.memory) {
    for (const auto& [name, bound] :
         {std::pair("memory", view.memory->limit), {"available", view.memory->available}}) {
      rows.push_back({name, fmt::format("{} bytes, says {}", bound.bytes, bound.source)});
    }
  }
  return rows;
}

std::vector<TextRow> node_rows(const Topology& topology) {
  std::vector<TextRow> rows = {{"node", "OS", "package", "memory bytes", "memory kind", "cores",
                                "CPUs", "usable CPUs", "usable memory"}};
  for (const NumaNode& node : topology.nodes()) {
    rows.push_back({std::to_string(node.place.index), std::to_string(node.os_index),
                    cell(node.package ? std::to_string(*node.package) : ""),
                    std::to_string(node.memory_bytes), cell(printable(node.memory_kind)),
                    std::to_string(node.core_count), cell(format_cpu_list(node.cpus)),
                    cell(format_cpu_list(node.usable_cpus)), node.memory_usable ? "yes" : "no"});
  }
  return rows;
}

std::vector<TextRow> kind_rows(const Topology& topology) {
  std::vector<TextRow> rows = {{"kind", "efficiency", "CPUs", "name"}};
  for (std::size_t i = 0; i < topology.cpu_kinds().size(); ++i) {
    const CpuKind& kind = topology.cpu_kinds()[i];
    rows.push_back({std::to_string(i),
                    cell(kind.efficiency ? std::to_string(*kind.efficiency) : ""),
                    format_cpu_list(kind.cpus), cell(printable(kind.name))});
  }
  return rows;
}

std::vector<TextRow> device_rows(const Topology& topology) {
  std::vector<TextRow> rows = {{"device", "bus id", "near node", "interfaces", "name"}};
  for (const GpuInfo& gpu : topology.gpus()) {
    rows.push_back({fmt::format("GPU {}", gpu.place.index), gpu.bus_id, cell(gpu.near_node), "-",
                    printable(gpu.name)});
  }
  for (const NicInfo& nic : topology.nics()) {
    rows.push_back(
        {"NIC", nic.bus_id, cell(nic.near_node), cell(interfaces_of(nic)), printable(nic.name)});
  }
  return rows;
}

std::vector<TextRow> distance_rows(const Topology& topology) {
  const std::size_t count = topology.nodes().size();
  std::vector<TextRow> rows = {{"distance"}};
  for (std::size_t column = 0; column < count; ++column) {
    rows.front().push_back(fmt::format("to {}", column));
  }
  for (std::size_t row = 0; row < count; ++row) {
    rows.push_back({fmt::format("from {}", row)});
    for (std::size_t column = 0; column < count; ++column) {
      rows.back().push_back(std::to_string(*topology.distance(row, column)));
    }
  }
  return rows;
}

}  // namespace

std::string draw_table(const TopologyView& view) {
  const Topology& topology = view.topology;
  std::string text;
  append(machine_rows(view), text);
  append(node_rows(topology), text);
  append(kind_rows(topology), text);
  if (!topology.gpus().empty() || !topology.nics().empty()) {
    append(device_rows(topology), text);
  }
  if (const std::string devices = draw_devices(view, ""); !devices.empty()) {
    text += "\n" + devices;
  }
  if (has_distances(topology)) {
    append(distance_rows(topology), text);
  }
  return text;
}

}  // namespace pinion
