#pragma once

#include <cstdint>
#include <string>

#include <pinion/core/status.hpp>

namespace pinion {

/// An amount of memory, and who says so.
struct MemoryBound {
  std::uint64_t bytes = 0;

  /// The file that holds the number, with the name of its line where it has several:
  /// "/sys/fs/cgroup/job/memory.max", "/proc/meminfo MemTotal".
  std::string source = {};
};

/// How much memory this process may use together with whatever shares its limits.
struct MemoryLimits {
  /// The smallest of the machine's memory and the limits (memory.max and memory.high, or
  /// memory.limit_in_bytes) of every cgroup around the process. Does not depend on what is in use.
  MemoryBound limit = {};

  /// What is left of it at this moment: the smallest of the machine's available memory and, for
  /// each of those cgroups, its limit less what its processes hold, file cache not counted, as the
  /// system gives that back when memory is short. At most limit.bytes; may be 0.
  MemoryBound available = {};
};

/// The limits of the calling process.
///
///     const MemoryLimits memory = memory_limits().value();
///     std::printf("at most %zu MiB, says %s\n", memory.limit.bytes >> 20,
///                 memory.limit.source.c_str());
///
/// Thread safety: may be called from any thread. Blocks: for the reading of some small files.
/// Errors: kUnavailable when /proc/meminfo cannot be read. A cgroup whose files cannot be read
///   limits nothing.
[[nodiscard]] Result<MemoryLimits> memory_limits();

}  // namespace pinion
