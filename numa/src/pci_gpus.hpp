#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include <pinion/numa/topology.hpp>

namespace pinion {

/// Whether a PCI device of this class (16 bits) and maker is a GPU.
[[nodiscard]] bool is_gpu_by_class(unsigned class_id, unsigned vendor_id) noexcept;

/// The GPUs among the PCI devices that the system's files list, in the order of the bus. `nodes`
/// are those of the machine. `root` is "/" but for tests, which bring their own /sys.
[[nodiscard]] std::vector<GpuInfo> read_pci_gpus(const std::filesystem::path& root,
                                                 std::span<const NumaNode> nodes);

}  // namespace pinion
