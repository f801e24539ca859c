#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>

namespace pinion {

/// The names in a list of hosts as Slurm writes it, such as "a,node[01-03,7]".
/// Errors: kInvalidArgument for what is none, and for more than 65536.
[[nodiscard]] Result<std::vector<std::string>> parse_slurm_hosts(std::string_view text);

/// The numbers in a list as Slurm writes it, such as "2(x3),1".
/// Errors: as parse_slurm_hosts().
[[nodiscard]] Result<std::vector<std::uint32_t>> parse_slurm_counts(std::string_view text);

}  // namespace pinion
