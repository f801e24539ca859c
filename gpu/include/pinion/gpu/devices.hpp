#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <pinion/core/device.hpp>
#include <pinion/core/status.hpp>
#include <pinion/gpu/device_discovery.hpp>

namespace pinion {

struct DeviceOptions {
  std::uint32_t host = 0;  ///< Becomes part of each device's place.

  /// The share of a device's free memory that this process may allocate: above 0, at most 1.
  double memory_share = 0.9;

  /// Host memory that may be registered with each device.
  std::uint64_t registered_bytes_max = std::uint64_t{1} << 30;

  /// What says which devices this process is to use, where CUDA_VISIBLE_DEVICES, which CUDA itself
  /// reads, is not set: what usable_devices() leaves to others is not there. Devices of which the
  /// driver's management library knows nothing are there all the same.
  DeviceVariables variables = {};

  /// Which of the devices are to be opened; empty: all. Nothing of this process is made on others.
  std::function<bool(const DeviceInfo&)> is_wanted = {};

  /// Told, inside the call, what a person should know: devices that were left out, and why; CPUs
  /// near a device that is opened, which this process may not use. May be empty.
  std::function<void(const std::string&)> on_message = {};
};

/// Opens every GPU that CUDA shows to this process and the variables leave it, in the order of
/// their places, which are numbered as CUDA lists them, whatever is left out for another reason.
/// Their kernels are those of Pinion and the CudaKernel objects of the program. None may be what is
/// given when none is wanted.
///
/// Blocks: for the driver, which makes a context on each device.
/// Errors: kUnimplemented when this build of Pinion carries no GPU back-end; kNotFound when this
///   process has no GPU, with the reason: no driver, none visible, none that may or is to be used;
///   kInvalidArgument for options outside their stated range; those of Topology::of_this_machine().
[[nodiscard]] Result<std::vector<std::unique_ptr<IDevice>>> open_devices(
    const DeviceOptions& options);

}  // namespace pinion
