#include "agent/strays.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

namespace pinion {

std::vector<pid_t> child_processes() {
  std::vector<pid_t> children;
  const std::string path = fmt::format("/proc/self/task/{}/children", gettid());
  if (std::FILE* file = std::fopen(path.c_str(), "re")) {
    int pid = 0;
    while (std::fscanf(file, "%d", &pid) == 1) {
      children.push_back(pid);
    }
    std::fclose(file);
  }
  return children;
}

void end_child_processes(std::span<const pid_t> except) {
  for (int round = 0; round < 100; ++round) {
    std::vector<pid_t> strays = child_processes();
    std::erase_if(strays, [except](pid_t pid) {
      return std::find(except.begin(), except.end(), pid) != except.end();
    });
    if (strays.empty()) {
      return;
    }
    for (const pid_t pid : strays) {
      kill(pid, SIGKILL);
    }
    for (const pid_t pid : strays) {
      if (waitpid(pid, nullptr, WNOHANG) == 0) {
        poll(nullptr, 0, 10);
      }
    }
  }
}

}  // namespace pinion
