#include "devices/mapped_gpu.hpp"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "settings.hpp"

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

// The node that the CPUs near a device are of.
std::optional<Place> near_node_of(const DeviceInfo& device, const Topology& topology) {
  for (const NumaNode& node : topology.nodes()) {
    const auto& cpus = node.usable_cpus;
    if (!device.near_cpus.empty() &&
        std::find(cpus.begin(), cpus.end(), device.near_cpus.front()) != cpus.end()) {
      return node.place;
    }
  }
  return std::nullopt;
}

GpuMapping gpus_of_driver(const DeviceDiscovery& found, const Topology& topology) {
  GpuMapping mapping{.messages = found.messages};
  for (const DeviceInfo& device : found.devices) {
    // CUDA does not open the whole of a device that is divided.
    const bool is_divided =
        !device.uuid.empty() &&
        std::any_of(found.devices.begin(), found.devices.end(), [&device](const DeviceInfo& other) {
          return other.mig_parent_uuid == device.uuid;
        });
    if (!is_divided) {
      mapping.gpus.push_back(
          {.gpu = {.place = device.place, .near_node = near_node_of(device, topology)},
           .bus_id = device.pci_bus_id,
           .visible_as = device.uuid});
    }
  }
  return mapping;
}

GpuMapping gpus_of_topology(const Topology& topology, const DeviceVariables& variables) {
  std::vector<DriverDevice> found;
  for (const GpuInfo& gpu : topology.gpus()) {
    found.push_back({.uuid = gpu.uuid, .pci_bus_id = gpu.bus_id});
  }
  VisibleDevices usable = usable_devices(variables, found);
  GpuMapping mapping{.messages = std::move(usable.messages)};
  for (const std::size_t index : usable.devices) {
    const GpuInfo& gpu = topology.gpus()[index];
    mapping.gpus.push_back({.gpu = {.place = gpu.place, .near_node = gpu.near_node},
                            .bus_id = gpu.bus_id,
                            .visible_as = gpu.uuid});
  }
  return mapping;
}

Status none_left(const std::vector<std::string>& messages) {
  std::string text =
      "ranks are to be mapped by GPU, and none of this machine is left to this process: "
      "CUDA_VISIBLE_DEVICES, Slurm's variables, NVIDIA_VISIBLE_DEVICES or its control group hide "
      "them";
  for (const std::string& message : messages) {
    text += "; " + message;
  }
  return Status(ErrorCode::kFailedPrecondition, text + "; look at pinion topo, or map by numa");
}

}  // namespace

DeviceVariables device_variables() {
  return {.cuda_visible_devices = find_environment_value("CUDA_VISIBLE_DEVICES"),
          .slurm_step_gpus = find_environment_value("SLURM_STEP_GPUS"),
          .slurm_job_gpus = find_environment_value("SLURM_JOB_GPUS"),
          .nvidia_visible_devices = find_environment_value("NVIDIA_VISIBLE_DEVICES")};
}

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

Result<GpuMapping> gpus_to_map(const std::string& setting, const Topology& topology,
                               const std::optional<GpuSources>& sources) {
  if (setting.starts_with("emu:")) {
    const bool are_of_machine = setting.starts_with(kOfTheMachine);
    Result<EmulationSpec> spec =
        are_of_machine ? parse_emulation_spec(setting, topology) : parse_emulation_spec(setting);
    if (!spec) {
      return std::move(spec).error().with_context("setting devices");
    }
    return GpuMapping{.gpus = emulated_gpus(*spec, topology, are_of_machine)};
  }
  if (!sources) {
    return gpus_of_topology(topology, {});
  }
  // Without the answer of a driver GPUs may be of another maker, so that is no error.
  const Result<DeviceDiscovery> found = usable_gpus(*sources, topology, 0);
  GpuMapping mapping =
      found ? gpus_of_driver(*found, topology) : gpus_of_topology(topology, sources->variables);
  if (!found && found.error().code() != ErrorCode::kNotFound) {
    mapping.messages.push_back(found.error().to_string());
  }
  if (mapping.gpus.empty() && (found || !topology.gpus().empty())) {
    return none_left(mapping.messages);
  }
  return mapping;
}

}  // namespace pinion
