#include "agent/strays.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include <fmt/format.h>

#include <pinion/core/clock.hpp>

#include "hosts/remote_shell.hpp"

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

bool is_agent_of_other_host(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/cmdline", pid));
  for (std::string word; std::getline(file, word, '\0');) {
    if (word == kHostOfJobOption) {
      return true;
    }
  }
  return false;
}

void end_child_processes(const std::function<bool(pid_t)>& spared) {
  constexpr std::chrono::seconds kPatience{30};  // On a host that is very busy.
  const SystemClock clock;
  const Instant end = clock.now() + kPatience;
  while (clock.now() < end) {
    std::vector<pid_t> strays = child_processes();
    std::erase_if(strays, spared);
    if (strays.empty()) {
      return;
    }
    for (const pid_t pid : strays) {
      kill(pid, SIGKILL);
    }
    bool is_one_left = false;
    for (const pid_t pid : strays) {
      is_one_left = waitpid(pid, nullptr, WNOHANG) == 0 || is_one_left;
    }
    if (is_one_left) {
      poll(nullptr, 0, 10);
    }
  }
}

}  // namespace pinion
