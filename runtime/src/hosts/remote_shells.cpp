#include "hosts/remote_shells.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

namespace pinion {

std::vector<std::uint32_t> hosts_started_by(std::uint32_t host, std::uint32_t host_count,
                                            std::uint32_t width) {
  std::vector<std::uint32_t> hosts;
  const std::uint64_t first = std::uint64_t{host} * width + 1;
  for (std::uint64_t next = first; next < std::min<std::uint64_t>(host_count, first + width);
       ++next) {
    hosts.push_back(static_cast<std::uint32_t>(next));
  }
  return hosts;
}

Status RemoteShells::start(HostLaunch launch, OutputRelay& output) {
  std::error_code error;
  const std::string agent = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (error) {
    return Status::from_errno(error.value(), "cannot tell where pinion-agent is");
  }
  const auto host_count = static_cast<std::uint32_t>(launch.spec.hosts.size());
  for (const std::uint32_t host : hosts_started_by(launch.host, host_count, launch.start_width)) {
    const Result<std::vector<std::string>> command =
        remote_command(launch.remote_shell, launch.spec.hosts[host].name, agent);
    if (!command) {
      return command.error();
    }
    const Result<UniqueFd> words = output.add_shell(host);
    if (!words) {
      return words.error();
    }
    launch.host = host;
    Result<RemoteShell> shell =
        RemoteShell::start(*command, encode_host_launch(launch), words->get());
    if (!shell) {
      return std::move(shell).error();
    }
    shell->write_input();  // Most of it is taken at once, before we are ready to wait for more.
    shells_.emplace(host, *std::move(shell));
  }
  return {};
}

void RemoteShells::watch(std::vector<pollfd>& watched) const {
  for (const auto& [host, shell] : shells_) {
    watched.push_back({shell.watch_descriptor(), POLLIN, 0});
    watched.push_back({shell.input_descriptor(), POLLOUT, 0});
  }
}

std::vector<RemoteShells::End> RemoteShells::serve() {
  std::vector<End> ends;
  for (auto it = shells_.begin(); it != shells_.end();) {
    auto& [host, shell] = *it;
    int wait_status = 0;
    shell.write_input();
    if (!shell.has_ended(wait_status)) {
      ++it;
      continue;
    }
    ends.push_back({host, wait_status});
    it = shells_.erase(it);
  }
  return ends;
}

bool RemoteShells::is_process_of_one(pid_t pid) const {
  return std::any_of(shells_.begin(), shells_.end(),
                     [pid](const auto& shell) { return shell.second.pid() == pid; });
}

void RemoteShells::kill(std::uint32_t host) {
  if (const auto found = shells_.find(host); found != shells_.end()) {
    found->second.kill();
  }
}

void RemoteShells::kill_all() {
  for (auto& [host, shell] : shells_) {
    shell.kill();
  }
}

void RemoteShells::let_go() {
  for (auto& [host, shell] : shells_) {
    shell.let_go();
  }
  shells_.clear();
}

}  // namespace pinion
