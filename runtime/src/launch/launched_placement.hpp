#pragma once

#include <cstdint>
#include <vector>

#include <pinion/core/status.hpp>

#include "launch/launched_process.hpp"
#include "launch_spec.hpp"
#include "settings.hpp"

namespace pinion {

/// Where the ranks of a host run that another launcher has put there: each on the CPUs that it was
/// bound to, or, where these overlap, together on all of them, dealt out as by `pinion run`. The
/// calling process, an agent that one of them has started, may then run on all of them.
/// Errors: those of finding the machine's CPUs and of placing ranks on them.
[[nodiscard]] Result<HostPlacement> placement_of_launched(
    const std::vector<LaunchedProcess>& processes, const Settings& settings, std::uint32_t host);

/// Whether no CPU belongs to two of them.
[[nodiscard]] bool have_cpus_of_their_own(const std::vector<LaunchedProcess>& processes);

}  // namespace pinion
