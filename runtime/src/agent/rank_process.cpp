#include "agent/rank_process.hpp"

#include <poll.h>
#include <sched.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "agent/affinity_mask.hpp"
#include "agent/child_process.hpp"

namespace pinion {
namespace {

std::vector<std::string> environment_of(const RankStart& start, int socket) {
  std::vector<std::string> entries = own_environment();
  const auto remove = [&entries](const std::string& name) {
    std::erase_if(entries, [&name](const std::string& e) { return e.starts_with(name + "="); });
  };
  const auto set = [&](const std::string& name, const std::string& value) {
    remove(name);
    entries.push_back(name + "=" + value);
  };
  for (const std::string& name : start.absent_variables) {
    remove(name);
  }
  for (const auto& [name, value] : start.environment) {
    set(name, value);
  }
  set("PINION_AGENT_FD", std::to_string(socket));
  return entries;
}

}  // namespace

Result<RankProcess> start_rank(const RankStart& start) {
  Result<std::pair<Channel, Channel>> sockets = Channel::create_pair();
  if (!sockets) {
    return std::move(sockets).error();
  }
  const std::vector<cpu_set_t> cpus = affinity_mask(start.cpus);
  rlimit open_files{};
  getrlimit(RLIMIT_NOFILE, &open_files);
  open_files.rlim_cur = std::min(start.open_file_limit, open_files.rlim_max);
  const int socket = sockets->second.descriptor();
  Result<ChildProcess> child = start_child({.command = start.command,
                                            .environment = environment_of(start, socket),
                                            .name = start.command.front(),
                                            .process_group = start.process_group,
                                            .input = start.input,
                                            .output = start.output,
                                            .errors = start.errors,
                                            .kept_descriptor = socket,
                                            .cpus = cpus,
                                            .open_file_limit = open_files});
  if (!child) {
    return std::move(child).error();
  }
  return RankProcess{child->pid, std::move(child->watch), std::move(sockets->first)};
}

bool has_ended(const RankProcess& process) noexcept {
  pollfd watched{process.watch.get(), POLLIN, 0};
  return poll(&watched, 1, 0) == 1;
}

std::string describe_wait_status(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    return "killed by signal " + std::to_string(signal) + " (" + strsignal(signal) + ")";
  }
  return "exit status " + std::to_string(WEXITSTATUS(wait_status));
}

}  // namespace pinion
