#include "topology_devices.hpp"

#include <fmt/format.h>

#include <pinion/numa/cpu_list.hpp>

#include "topology_words.hpp"

namespace pinion {
namespace {

// A cell that is never empty, so that the columns can be told apart.
std::string cell(const std::string& text) {
  return text.empty() ? "-" : printable(text);
}

}  // namespace

std::vector<TextRow> device_rows(const DeviceDiscovery& discovery) {
  std::vector<TextRow> rows = {
      {"device", "bus id", "name", "memory", "built for", "near", "near CPUs", "UUID", "part of"}};
  for (const DeviceInfo& device : discovery.devices) {
    rows.push_back({fmt::format("GPU {}", device.place.index), cell(device.pci_bus_id),
                    cell(device.name), in_gibibytes(device.memory_bytes), cell(device.architecture),
                    fmt::format("node {}", device.near_memory.index),
                    cell(format_cpu_list(device.near_cpus)), cell(device.uuid),
                    cell(device.mig_parent_uuid)});
  }
  return rows;
}

std::string draw_devices(const TopologyView& view, const std::string& indent) {
  std::string text;
  if (!view.devices) {
    return text;
  }
  if (!view.devices->devices.empty()) {
    for (const std::string& line : align(device_rows(*view.devices))) {
      text += indent + line + "\n";
    }
  }
  for (const std::string& message : view.devices->messages) {
    text += indent + printable(message) + "\n";
  }
  return text;
}

}  // namespace pinion
