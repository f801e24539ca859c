#pragma once

#include <string>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/gpu/device_discovery.hpp>

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

}  // namespace pinion
