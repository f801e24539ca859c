#include "cpu_quota.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "cgroup.hpp"

namespace pinion {
namespace {

std::optional<double> quota_of_group(const ControlGroup& group) {
  double quota = 0;
  double period = 0;
  if (group.version_2) {
    // "max" instead of a number means no limit, and fails to read as one.
    std::ifstream(group.folder / "cpu.max") >> quota >> period;
  } else {
    std::ifstream(group.folder / "cpu.cfs_quota_us") >> quota;
    std::ifstream(group.folder / "cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? std::optional(quota / period) : std::nullopt;
}

}  // namespace

std::optional<double> read_cpu_quota(const std::filesystem::path& root) {
  std::optional<double> tightest;
  for (const ControlGroup& group : control_groups(root, "cpu")) {
    const std::optional<double> quota = quota_of_group(group);
    if (quota && (!tightest || *quota < *tightest)) {
      tightest = quota;
    }
  }
  return tightest;
}

std::size_t workers_within(std::size_t usable_cpu_count, std::optional<double> quota) {
  if (!quota || *quota >= static_cast<double>(usable_cpu_count)) {
    return usable_cpu_count;
  }
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(*quota)));
}

}  // namespace pinion
