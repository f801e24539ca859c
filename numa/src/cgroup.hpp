#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace pinion {

/// One control group that the calling process is in, as a folder of its hierarchy.
struct ControlGroup {
  std::filesystem::path folder = {};
  bool version_2 = false;
};

/// The process's own group and every group around it, the innermost first, in each mounted
/// hierarchy (version 1, 2 or both) that can carry limits of `controller`, such as "cpu" or
/// "memory". Empty where the system does not tell. `root` is "/" but for tests, which bring their
/// own /proc and /sys.
[[nodiscard]] std::vector<ControlGroup> control_groups(const std::filesystem::path& root,
                                                       std::string_view controller);

}  // namespace pinion
