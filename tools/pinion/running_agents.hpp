#pragma once

#include <cstdint>
#include <vector>

#include <pinion/core/status.hpp>

namespace pinion {

/// The agents that run on this host: all of them for 0, else those that are the process `wanted` or
/// were started by it.
[[nodiscard]] std::vector<std::int64_t> find_agents(std::int64_t wanted);

/// The error for a process for which there is none.
[[nodiscard]] Status no_agent(std::int64_t process);

}  // namespace pinion
