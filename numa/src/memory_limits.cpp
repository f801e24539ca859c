#include <pinion/numa/memory_limits.hpp>

#include <algorithm>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "cgroup.hpp"
#include "read_memory_limits.hpp"

namespace pinion {
namespace {

constexpr const char* kLimitsOfVersion1[] = {"memory.limit_in_bytes"};
// Beyond memory.high the system slows a group down so much that it is a limit too.
constexpr const char* kLimitsOfVersion2[] = {"memory.max", "memory.high"};

// The number after `key` in a file of lines "key number"; the only number of the file without one.
std::optional<std::uint64_t> number_in(const std::filesystem::path& path,
                                       std::string_view key = {}) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (key.empty()) {
    // "max" instead of a number means no limit, and fails to read as one.
    return file >> number ? std::optional(number) : std::nullopt;
  }
  for (std::string word; file >> word;) {
    if (word == key) {
      return file >> number ? std::optional(number) : std::nullopt;
    }
    std::getline(file, word);
  }
  return std::nullopt;
}

// What the processes of a group hold and the system cannot take back. Shared memory is not counted
// as file cache by the kernel's own numbers.
std::uint64_t bytes_held(const ControlGroup& group) {
  const std::filesystem::path statistics = group.folder / "memory.stat";
  const std::string prefix = group.version_2 ? "" : "total_";  // Version 1: with the groups within.
  const std::uint64_t used =
      number_in(group.folder / (group.version_2 ? "memory.current" : "memory.usage_in_bytes"))
          .value_or(0);
  const std::uint64_t cached = number_in(statistics, prefix + "active_file").value_or(0) +
                               number_in(statistics, prefix + "inactive_file").value_or(0);
  return used - std::min(used, cached);
}

void tighten(MemoryBound& bound, std::uint64_t bytes, const std::string& source) {
  if (bytes < bound.bytes) {
    bound = {bytes, source};
  }
}

}  // namespace

Result<MemoryLimits> read_memory_limits(const std::filesystem::path& root) {
  const std::filesystem::path machine = root / "proc/meminfo";
  constexpr std::uint64_t kKibi = 1024;
  const std::optional<std::uint64_t> total = number_in(machine, "MemTotal:");
  if (!total) {
    return Status(ErrorCode::kUnavailable, "the system does not tell how much memory it has: " +
                                               machine.string() + " has no number MemTotal");
  }
  MemoryLimits limits;
  limits.limit = {*total * kKibi, machine.string() + " MemTotal"};
  limits.available = limits.limit;
  // Before Linux 3.14 there was no such line.
  if (const auto available = number_in(machine, "MemAvailable:")) {
    tighten(limits.available, *available * kKibi, machine.string() + " MemAvailable");
  }
  for (const ControlGroup& group : control_groups(root, "memory")) {
    const std::span<const char* const> names =
        group.version_2 ? std::span<const char* const>(kLimitsOfVersion2) : kLimitsOfVersion1;
    for (const char* name : names) {
      const std::filesystem::path file = group.folder / name;
      const std::optional<std::uint64_t> bytes = number_in(file);
      // Version 1 writes "no limit" as a number, which is beyond every machine's memory.
      if (bytes && *bytes < *total * kKibi) {
        tighten(limits.limit, *bytes, file.string());
        tighten(limits.available, *bytes - std::min(*bytes, bytes_held(group)), file.string());
      }
    }
  }
  return limits;
}

Result<MemoryLimits> memory_limits() {
  return read_memory_limits("/");
}

}  // namespace pinion
