#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pinion {

/// Which of the devices that a process sees are those of a rank: each `stride`-th from `first` on.
struct DeviceChoice {
  std::uint32_t first = 0;
  std::uint32_t stride = 1;                ///< At least 1.
  std::uint32_t sharer_count = 1;          ///< Ranks that have the same devices.
  std::vector<std::string> left_out = {};  ///< UUIDs of devices that were given up.

  friend bool operator==(const DeviceChoice&, const DeviceChoice&) = default;
};

}  // namespace pinion
