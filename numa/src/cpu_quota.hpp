#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

namespace pinion {

/// The CPU time per time, in CPUs, that the cgroups (version 1, 2 or both) of the calling process
/// grant it: the tightest of its own group and the groups around it. Empty when nothing limits it
/// or the system does not tell. `root` is "/" but for tests, which bring their own /proc and /sys.
[[nodiscard]] std::optional<double> read_cpu_quota(const std::filesystem::path& root);

/// The workers that can run at once on `usable_cpu_count` CPUs under `quota`: at least 1.
[[nodiscard]] std::size_t workers_within(std::size_t usable_cpu_count, std::optional<double> quota);

}  // namespace pinion
