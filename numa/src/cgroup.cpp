#include "cgroup.hpp"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace pinion {
namespace {

// One mounted cgroup hierarchy that can carry limits of the controller.
struct Mount {
  std::string root;   // The group that is visible at `point`.
  std::string point;  // Where it is mounted.
  bool version_2 = false;
};

bool lists_word(std::string_view comma_separated, std::string_view word) {
  std::size_t begin = 0;
  while (begin <= comma_separated.size()) {
    const std::size_t end = std::min(comma_separated.find(',', begin), comma_separated.size());
    if (comma_separated.substr(begin, end - begin) == word) {
      return true;
    }
    begin = end + 1;
  }
  return false;
}

// A line of mountinfo: id parent device root point options [tags...] - type source super-options.
std::optional<Mount> parse_mount(const std::string& line, std::string_view controller) {
  std::istringstream words(line);
  std::string id, parent, device, options, word, type, source, super_options;
  Mount mount;
  if (!(words >> id >> parent >> device >> mount.root >> mount.point >> options)) {
    return std::nullopt;
  }
  while (words >> word && word != "-") {
  }
  if (!(words >> type >> source >> super_options)) {
    return std::nullopt;
  }
  mount.version_2 = type == "cgroup2";
  if (!mount.version_2 && !(type == "cgroup" && lists_word(super_options, controller))) {
    return std::nullopt;
  }
  return mount;
}

std::vector<Mount> read_mounts(const std::filesystem::path& root, std::string_view controller) {
  std::vector<Mount> mounts;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    if (std::optional<Mount> mount = parse_mount(line, controller)) {
      mounts.push_back(std::move(*mount));
    }
  }
  return mounts;
}

// The path of our own group in the hierarchy; lines read "number:controllers:path", without a
// controller for version 2.
std::optional<std::string> own_group(const std::filesystem::path& root, bool version_2,
                                     std::string_view controller) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) {
      continue;
    }
    const std::string_view controllers =
        std::string_view(line).substr(first + 1, second - first - 1);
    if (version_2 ? controllers.empty() : lists_word(controllers, controller)) {
      return line.substr(second + 1);
    }
  }
  return std::nullopt;
}

// Our group's path below the mount point. A container without a cgroup namespace sees the full path
// of its group, of which the mount shows only the lower end.
std::filesystem::path below_mount(const Mount& mount, const std::string& group) {
  if (mount.root == "/") {
    return std::filesystem::path(group).relative_path();
  }
  if (group == mount.root || group.starts_with(mount.root + "/")) {
    return std::filesystem::path(group.substr(mount.root.size())).relative_path();
  }
  return {};
}

}  // namespace

std::vector<ControlGroup> control_groups(const std::filesystem::path& root,
                                         std::string_view controller) {
  std::vector<ControlGroup> groups;
  for (const Mount& mount : read_mounts(root, controller)) {
    const std::optional<std::string> group = own_group(root, mount.version_2, controller);
    if (!group) {
      continue;
    }
    const std::filesystem::path top = root / std::filesystem::path(mount.point).relative_path();
    std::filesystem::path below = below_mount(mount, *group);
    while (true) {
      groups.push_back({below.empty() ? top : top / below, mount.version_2});
      if (below.empty()) {
        break;
      }
      below = below.parent_path();
    }
  }
  return groups;
}

}  // namespace pinion
