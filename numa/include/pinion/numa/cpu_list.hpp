#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>

namespace pinion {

/// The list that taskset and cpusets take: "0-3,8" for 0 1 2 3 8, in any order, repetitions once.
/// Empty for no CPU.
[[nodiscard]] std::string format_cpu_list(std::vector<unsigned> cpus);

/// The CPUs that a list such as "0-3,8" names, ascending, each once; at least one.
/// Errors: kInvalidArgument for anything else, and for numbers of 65536 and more.
[[nodiscard]] Result<std::vector<unsigned>> parse_cpu_list(std::string_view list);

}  // namespace pinion
