#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>

namespace pinion {

/// The hosts of "a:2,b:4". One without a number has room for one rank; one that is named again has
/// room for more.
/// Errors: kInvalidArgument for a host without a name, and for a number that is none, or 0.
[[nodiscard]] Result<std::vector<HostRanks>> parse_host_list(std::string_view text);

/// The hosts of a file with one on each line, as in "a:2" or "a slots=2"; what follows a # is not
/// read. Errors: those of parse_host_list(), with the line; those of reading the file;
///   kInvalidArgument for a file without a host.
[[nodiscard]] Result<std::vector<HostRanks>> read_hostfile(const std::string& path);

/// The hosts with `rank_count` ranks, put on as many as there is room for, host by host.
/// Errors: kResourceExhausted when there is less room.
[[nodiscard]] Result<std::vector<HostRanks>> fill_hosts(std::vector<HostRanks> hosts,
                                                        std::uint64_t rank_count);

}  // namespace pinion
