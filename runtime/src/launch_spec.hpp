#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/numa/placement.hpp>
#include <pinion/runtime/launch.hpp>

#include "devices/mapped_gpu.hpp"
#include "settings.hpp"

namespace pinion {

/// How a LaunchSpec travels from `pinion run` to the agent.
[[nodiscard]] std::string encode_launch_spec(const LaunchSpec& spec);
[[nodiscard]] Result<LaunchSpec> decode_launch_spec(std::string_view text);

/// The settings that hold for the job: file and environment, then those of `spec`.
[[nodiscard]] Result<Settings> settings_of(const LaunchSpec& spec);

/// The ranks of one host of a job.
struct HostShare {
  std::uint32_t host = 0;
  std::uint32_t first_rank = 0;
  std::uint32_t rank_count = 1;
};

/// Precondition: the launch has that host; 0 where it names none.
[[nodiscard]] HostShare share_of(const LaunchSpec& spec, std::uint32_t host);

/// Where the ranks of a host run on this machine.
struct HostPlacement {
  std::vector<RankPlacement> ranks = {};
  std::size_t node_count = 1;  ///< NUMA nodes of the machine.
  GpuMapping gpus = {};        ///< What ranks are mapped by, if they are mapped by GPU.
};

/// `topology_file` stands for another machine, for planning only; empty: this one.
[[nodiscard]] Result<HostPlacement> placement_of(const LaunchSpec& spec, const Settings& settings,
                                                 const std::string& topology_file = {},
                                                 std::uint32_t host = 0);

/// "rank 0: 1 worker on NUMA node 0, CPUs 0"
[[nodiscard]] std::string describe_rank(std::uint32_t rank, const RankPlacement& placement);

}  // namespace pinion
