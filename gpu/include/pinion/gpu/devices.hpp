#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <pinion/core/device.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

struct DeviceOptions {
  std::uint32_t host = 0;  ///< Becomes part of each device's place.

  /// The share of a device's free memory that this process may allocate: above 0, at most 1.
  double memory_share = 0.9;
};

/// Opens every GPU that this process may use, in the order of their places.
/// Blocks: for the driver.
/// Errors: kUnimplemented when this build of Pinion carries no GPU back-end; kInvalidArgument for
///   options outside their stated range.
[[nodiscard]] Result<std::vector<std::unique_ptr<IDevice>>> open_devices(
    const DeviceOptions& options);

}  // namespace pinion
