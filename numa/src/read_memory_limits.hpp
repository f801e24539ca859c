#pragma once

#include <filesystem>

#include <pinion/numa/memory_limits.hpp>

namespace pinion {

/// memory_limits() of a system whose /proc and /sys lie in `root`.
[[nodiscard]] Result<MemoryLimits> read_memory_limits(const std::filesystem::path& root);

}  // namespace pinion
