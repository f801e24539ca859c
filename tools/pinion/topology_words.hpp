#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <pinion/numa/topology.hpp>

namespace pinion {

/// "1 core", "2 cores".
[[nodiscard]] std::string number_of(std::size_t count, const std::string& noun);

/// "23.9 GiB".
[[nodiscard]] std::string in_gibibytes(std::uint64_t bytes);

/// Names come from a file that anybody may have written: without what could steer a terminal.
[[nodiscard]] std::string printable(std::string text);

/// "eth0 mlx5_0"; empty when the adapter shows no interface.
[[nodiscard]] std::string interfaces_of(const NicInfo& nic);

/// What kind number `index` is among the others: "efficiency", "performance" or "2 of 3".
[[nodiscard]] std::string rank_of_kind(const Topology& topology, std::size_t index);

/// Whether distances are worth showing.
[[nodiscard]] bool has_distances(const Topology& topology);

/// "this machine" or "a recorded machine, for planning only".
[[nodiscard]] std::string whose_machine(const Topology& topology);

/// "2 packages, 2 NUMA nodes, 40 cores, 160 CPUs, 4 GPUs, 6 NICs".
[[nodiscard]] std::string summary_of(const Topology& topology);

/// "160 CPUs, at most 160 workers", with the quota where there is one.
[[nodiscard]] std::string usable_of(const Topology& topology);

}  // namespace pinion
