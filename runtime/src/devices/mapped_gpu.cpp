#include "devices/mapped_gpu.hpp"

#include <span>
#include <utility>

#include <pinion/gpu/device_discovery.hpp>

namespace pinion {
namespace {

constexpr std::string_view kOfTheMachine = "emu:auto";

std::vector<MappedGpu> emulated_gpus(const EmulationSpec& spec, const Topology& topology,
                                     bool are_of_machine) {
  std::vector<Place> nodes;
  for (const NumaNode& node : topology.nodes()) {
    if (!node.usable_cpus.empty()) {
      nodes.push_back(node.place);
    }
  }
  std::vector<MappedGpu> gpus;
  for (const EmulatedDeviceSpec& device : spec.devices) {
    MappedGpu& gpu = gpus.emplace_back();
    gpu.gpu.place = device.info.place;
    gpu.bus_id = device.info.pci_bus_id;
    if (are_of_machine) {
      gpu.gpu.near_node = device.info.near_memory;
    } else if (!nodes.empty()) {
      gpu.gpu.near_node = nodes[(gpus.size() - 1) % nodes.size()];
    }
  }
  return gpus;
}

}  // namespace

Result<EmulationSpec> emulation_of(const std::string& setting) {
  if (!setting.starts_with(kOfTheMachine)) {
    return parse_emulation_spec(setting);
  }
  const Result<Topology> topology = Topology::of_this_machine(DeviceSearch::kAll);
  if (!topology) {
    return Status(topology.error());
  }
  return parse_emulation_spec(setting, *topology);
}

Result<std::vector<MappedGpu>> gpus_to_map(const std::string& setting, const Topology& topology,
                                           std::optional<std::string_view> visible) {
  if (setting.starts_with("emu:")) {
    const bool are_of_machine = setting.starts_with(kOfTheMachine);
    Result<EmulationSpec> spec =
        are_of_machine ? parse_emulation_spec(setting, topology) : parse_emulation_spec(setting);
    if (!spec) {
      return std::move(spec).error().with_context("setting devices");
    }
    return emulated_gpus(*spec, topology, are_of_machine);
  }
  std::vector<DriverDevice> found;
  for (const GpuInfo& gpu : topology.gpus()) {
    found.push_back({.uuid = gpu.uuid, .pci_bus_id = gpu.bus_id});
  }
  std::vector<MappedGpu> gpus;
  for (const std::size_t index : visible_devices(visible, found).devices) {
    const GpuInfo& gpu = topology.gpus()[index];
    gpus.push_back({.gpu = {.place = gpu.place, .near_node = gpu.near_node},
                    .bus_id = gpu.bus_id,
                    .visible_as = gpu.uuid.empty() ? std::to_string(index) : gpu.uuid});
  }
  return gpus;
}

}  // namespace pinion
