#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/gpu/emulation_spec.hpp>
#include <pinion/numa/placement.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// What the setting `devices` says of emulated devices: parse_emulation_spec(), with the GPUs of
/// this machine for "emu:auto".
/// Errors: those of parse_emulation_spec() and Topology::of_this_machine().
[[nodiscard]] Result<EmulationSpec> emulation_of(const std::string& setting);

/// A GPU that ranks are mapped by.
struct MappedGpu {
  GpuNear gpu = {};
  std::string bus_id = {};      ///< Empty where it has none.
  std::string visible_as = {};  ///< What CUDA_VISIBLE_DEVICES calls it; empty: leave that alone.
};

/// Those of the setting `devices` that a rank may get: emulated ones, which are dealt to the nodes
/// in turn unless the machine has them, or those of the machine that `visible`, the value of
/// CUDA_VISIBLE_DEVICES, leaves.
/// Errors: those of emulation_of().
[[nodiscard]] Result<std::vector<MappedGpu>> gpus_to_map(const std::string& setting,
                                                         const Topology& topology,
                                                         std::optional<std::string_view> visible);

}  // namespace pinion
