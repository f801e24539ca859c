#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/device.hpp>
#include <pinion/core/status.hpp>
#include <pinion/gpu/device_discovery.hpp>
#include <pinion/gpu/devices.hpp>
#include <pinion/numa/topology.hpp>

#include "cuda/cuda_runtime.hpp"

namespace pinion {

/// What CUDA tells of a device, as discovery has it. `managed` is what the management library tells
/// of the same machine, by which a slice is known and its parent is found; may be empty.
[[nodiscard]] DriverDevice driver_device(const CudaProperties& properties,
                                         std::span<const DriverDevice> managed);

/// open_devices() with all that it asks of the machine. A device that this process may not use is
/// left out, and a message says why.
/// Errors: kNotFound when no device is left.
[[nodiscard]] Result<std::vector<std::unique_ptr<IDevice>>> open_cuda_devices(
    std::unique_ptr<ICudaRuntime> runtime, std::span<const DriverDevice> managed,
    const Topology& topology, const DeviceOptions& options);

}  // namespace pinion
