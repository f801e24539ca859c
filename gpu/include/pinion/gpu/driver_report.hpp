#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/gpu/device_discovery.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// What NVIDIA's driver tells of all GPUs that this system shows, also those that
/// CUDA_VISIBLE_DEVICES hides.
struct DriverReport {
  /// In the driver's order, by bus. The slices of a device (MIG) follow it.
  std::vector<DriverDevice> devices = {};
  std::vector<std::string> messages = {};  ///< What a person should know of devices left out.
};

/// Asks the driver through its management library (NVML), which is looked for when this is called:
/// neither the build nor the program needs it, and no device is woken or given a context.
/// Blocks: for the driver, up to seconds where it is not kept loaded.
/// Errors: kNotFound when the system has no such library, so no NVIDIA driver;
///   kFailedPrecondition when it lacks a function that is needed here, or has no driver below;
///   kUnavailable when the driver does not answer.
[[nodiscard]] Result<DriverReport> report_of_driver(
    const std::string& library = "libnvidia-ml.so.1");

/// What says which GPUs a process is to use.
struct GpuSources {
  DeviceVariables variables = {};
  std::string nvml_library = "libnvidia-ml.so.1";
};

/// The GPUs that a process with these variables is to use: of those that the driver tells of
/// (report_of_driver()) what the variables leave (usable_devices()), joined with the topology
/// (join_devices()). A device is there beside its slices. The messages of all three come along.
/// Blocks: as report_of_driver().
/// Errors: those of report_of_driver().
[[nodiscard]] Result<DeviceDiscovery> usable_gpus(const GpuSources& sources,
                                                  const Topology& topology, std::uint32_t host);

}  // namespace pinion
