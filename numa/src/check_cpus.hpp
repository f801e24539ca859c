#pragma once

#include <span>

#include <pinion/core/status.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// Whether at least one CPU is named and each of them is there and ours. Errors: kInvalidArgument,
/// and kPermissionDenied for one that may not be used.
[[nodiscard]] Status check_cpus(std::span<const unsigned> cpus, const Topology& topology);

}  // namespace pinion
