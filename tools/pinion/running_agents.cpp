#include "running_agents.hpp"

#include <dirent.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace pinion {
namespace {

// The second and the fourth field of /proc/PID/stat. The name stands in parentheses and may hold
// anything.
std::pair<std::string, std::int64_t> name_and_parent(std::int64_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::stringstream text;
  text << file.rdbuf();
  const std::string line = text.str();
  const std::size_t begin = line.find('(');
  const std::size_t end = line.rfind(')');
  if (begin == std::string::npos || end == std::string::npos) {
    return {};
  }
  std::istringstream rest(line.substr(end + 1));
  char state = '?';
  std::int64_t parent = 0;
  rest >> state >> parent;
  return {line.substr(begin + 1, end - begin - 1), parent};
}

}  // namespace

std::vector<std::int64_t> find_agents(std::int64_t wanted) {
  std::vector<std::int64_t> agents;
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), &::closedir);
  while (const dirent* const entry = processes ? ::readdir(processes.get()) : nullptr) {
    const std::string_view text = entry->d_name;
    std::int64_t process = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), process);
    if (error != std::errc() || end != text.data() + text.size()) {
      continue;
    }
    const auto [name, parent] = name_and_parent(process);
    if (name == "pinion-agent" && (wanted == 0 || wanted == process || wanted == parent)) {
      agents.push_back(process);
    }
  }
  std::sort(agents.begin(), agents.end());
  return agents;
}

Status no_agent(std::int64_t process) {
  return Status(ErrorCode::kNotFound,
                fmt::format("process {} is neither a running pinion run nor its agent", process));
}

}  // namespace pinion
