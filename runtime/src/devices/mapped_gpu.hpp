#pragma once

#include <optional>
#include <string>
#include <vector>

#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/gpu/device_discovery.hpp>
#include <pinion/gpu/driver_report.hpp>
#include <pinion/gpu/emulation_spec.hpp>
#include <pinion/numa/placement.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// What the setting `devices` says of emulated devices: parse_emulation_spec(), with the GPUs of
/// this machine for "emu:auto".
/// Errors: those of parse_emulation_spec() and Topology::of_this_machine().
[[nodiscard]] Result<EmulationSpec> emulation_of(const std::string& setting);

/// What the environment of this process says of the devices that it is to use.
[[nodiscard]] DeviceVariables device_variables();

/// A GPU that ranks are mapped by.
struct MappedGpu {
  GpuNear gpu = {};
  std::string bus_id = {};      ///< Empty where it has none.
  std::string visible_as = {};  ///< Its UUID, for CUDA_VISIBLE_DEVICES; empty: leave that alone.
};

/// The GPUs that ranks are mapped by, and what a person should know about them.
struct GpuMapping {
  std::vector<MappedGpu> gpus = {};
  std::vector<std::string> messages = {};
};

/// Those of the setting `devices` that a rank may get: emulated ones, which are dealt to the nodes
/// in turn unless the machine has them, or those of the machine. These are what usable_gpus()
/// finds, in its order; of a device that is divided (MIG) the slices. Where no driver tells of GPUs
/// they are those of the topology that the variables leave, or all of them without `sources`, as on
/// a recorded machine. Errors: those of emulation_of(); kFailedPrecondition when there are GPUs and
/// none is left.
[[nodiscard]] Result<GpuMapping> gpus_to_map(const std::string& setting, const Topology& topology,
                                             const std::optional<GpuSources>& sources);

}  // namespace pinion
