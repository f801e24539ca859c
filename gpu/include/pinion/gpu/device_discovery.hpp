#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/device.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// What a driver tells of a device, or of a slice of one.
struct DriverDevice {
  std::string uuid = {};             ///< "GPU-..." or, of a slice, "MIG-...".
  std::string mig_parent_uuid = {};  ///< Of a slice: the device that it is part of.
  std::string pci_bus_id = {};       ///< In any of the forms that drivers use.
  std::string name = {};
  std::string architecture = {};
  std::uint64_t memory_bytes = 0;
  unsigned copy_engine_count = 1;

  /// The operating system's number of the host's NUMA node that the driver calls nearest. Goes
  /// before what the PCI bus tells, which is wrong where device and host share memory.
  std::optional<unsigned> near_node_os_index = {};

  /// Of its place; empty: where it is among the devices that count.
  std::optional<std::uint16_t> number = {};
};

/// The devices that were found, and what a person should know about them.
struct DeviceDiscovery {
  std::vector<DeviceInfo> devices = {};  ///< In the order of their places.
  std::vector<std::string> messages = {};
};

/// "0000:3b:00.0" for what drivers write as "00000000:3B:00.0"; empty for what is no PCI bus id.
[[nodiscard]] std::string normal_bus_id(std::string_view bus_id);

/// The GPUs that a machine's topology lists, without what only a driver knows.
[[nodiscard]] DeviceDiscovery discover_devices(const Topology& topology, std::uint32_t host);

/// What a driver tells, joined with the topology by bus id, or by UUID where there is none. Devices
/// are in the order of `found`; what is in it twice counts once; a slice is a device of its own,
/// where its parent is. The CPUs of a near node that this process may not use are left out, and a
/// message says so.
[[nodiscard]] DeviceDiscovery join_devices(std::span<const DriverDevice> found,
                                           const Topology& topology, std::uint32_t host);

/// What CUDA_VISIBLE_DEVICES leaves of a driver's devices.
struct VisibleDevices {
  std::vector<std::size_t> devices = {};  ///< Indexes of the driver's list, as they are to be seen.
  std::vector<std::string> messages = {};
};

/// Which devices `setting` names, the value of CUDA_VISIBLE_DEVICES, as CUDA reads it: all when it
/// is not set, none when it is empty. Else a list, by commas, of numbers of whole devices in the
/// driver's order, beginnings of UUIDs that only one device has, and names of slices ("MIG-...").
/// The list ends before the first word that names no device, such as -1, or one that was named
/// already; a message says so.
[[nodiscard]] VisibleDevices visible_devices(std::optional<std::string_view> setting,
                                             std::span<const DriverDevice> found);

/// The variables that say which devices a process is to use; empty when they are not set.
struct DeviceVariables {
  std::optional<std::string> cuda_visible_devices = {};
  std::optional<std::string> slurm_step_gpus = {};
  std::optional<std::string> slurm_job_gpus = {};
  std::optional<std::string> nvidia_visible_devices = {};
};

/// Which of all devices that a driver shows this process is to use. CUDA_VISIBLE_DEVICES decides
/// where it is set, as nothing else counts for CUDA. Else SLURM_STEP_GPUS, or else SLURM_JOB_GPUS,
/// names whole devices by number ("0,2-3"), unless no more of them are shown than it names, as a
/// control group has hidden the others then and those that are left have other numbers. Else
/// NVIDIA_VISIBLE_DEVICES hides all ("none"), or those that it does not name where it names UUIDs;
/// its other values were for who made the container.
[[nodiscard]] VisibleDevices usable_devices(const DeviceVariables& variables,
                                            std::span<const DriverDevice> found);

}  // namespace pinion
