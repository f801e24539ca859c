#include "hosts/remote_hosts.hpp"

#include <algorithm>
#include <utility>

#include <pinion/core/assert.hpp>

#include "launch_spec.hpp"

namespace pinion {

RemoteHosts::RemoteHosts(const LaunchSpec& spec) {
  for (std::uint32_t host = 1; host < spec.hosts.size(); ++host) {
    hosts_.push_back({.name = spec.hosts[host].name,
                      .first_rank = share_of(spec, host).first_rank,
                      .incarnations = std::vector<std::uint32_t>(spec.hosts[host].rank_count)});
  }
}

Status RemoteHosts::start(const std::string& remote_shell, const std::string& agent,
                          HostLaunch launch, OutputRelay& output) {
  for (std::uint32_t host = 1; host <= hosts_.size(); ++host) {
    launch.host = host;
    const Result<std::vector<std::string>> command =
        remote_command(remote_shell, at(host).name, agent);
    if (!command) {
      return command.error();
    }
    const Result<UniqueFd> words = output.add_shell(host);
    if (!words) {
      return words.error();
    }
    Result<RemoteShell> shell =
        RemoteShell::start(*command, encode_host_launch(launch), words->get());
    if (!shell) {
      return std::move(shell).error();
    }
    at(host).shell = *std::move(shell);
  }
  return {};
}

void RemoteHosts::watch(std::vector<pollfd>& watched) const {
  for (const Host& host : hosts_) {
    if (host.shell) {
      watched.push_back({host.shell->watch_descriptor(), POLLIN, 0});
      watched.push_back({host.shell->input_descriptor(), POLLOUT, 0});
    }
  }
}

std::vector<RemoteHosts::ShellEnd> RemoteHosts::serve() {
  std::vector<ShellEnd> ends;
  for (std::uint32_t host = 1; host <= hosts_.size(); ++host) {
    std::optional<RemoteShell>& shell = at(host).shell;
    int wait_status = 0;
    if (!shell) {
      continue;
    }
    shell->write_input();
    if (shell->has_ended(wait_status)) {
      shell.reset();
      ends.push_back({host, wait_status});
    }
  }
  return ends;
}

bool RemoteHosts::any_shell_runs() const {
  return std::any_of(hosts_.begin(), hosts_.end(),
                     [](const Host& host) { return host.shell.has_value(); });
}

void RemoteHosts::kill_shells() {
  for (std::uint32_t host = 1; host <= hosts_.size(); ++host) {
    kill_shell(host);
  }
}

void RemoteHosts::kill_shells_of_expected() {
  for (std::uint32_t host = 1; host <= hosts_.size(); ++host) {
    if (at(host).state == State::kExpected) {
      kill_shell(host);
    }
  }
}

void RemoteHosts::kill_shell(std::uint32_t host) {
  if (at(host).shell) {
    at(host).shell->kill();
  }
}

void RemoteHosts::came(std::uint32_t host, std::string address) {
  Host& it = at(host);
  it.address = std::move(address);
  it.state = it.state == State::kExpected ? State::kThere : it.state;
}

bool RemoteHosts::all_came() const {
  return std::all_of(hosts_.begin(), hosts_.end(),
                     [](const Host& host) { return host.state == State::kThere; });
}

std::vector<std::string> RemoteHosts::addresses(const std::string& own) const {
  std::vector<std::string> addresses = {own};
  for (const Host& host : hosts_) {
    addresses.push_back(host.address);
  }
  return addresses;
}

void RemoteHosts::ranks_over(std::uint32_t host, std::vector<HostTraffic> traffic) {
  Host& it = at(host);
  it.traffic = std::move(traffic);
  it.state = it.state == State::kLost ? it.state : State::kOver;
}

bool RemoteHosts::all_over() const {
  return std::all_of(hosts_.begin(), hosts_.end(), [](const Host& host) {
    return host.state == State::kOver || host.state == State::kLost;
  });
}

bool RemoteHosts::lose(std::uint32_t host) {
  return std::exchange(at(host).state, State::kLost) != State::kLost;
}

bool RemoteHosts::any_is_left() const {
  return std::any_of(hosts_.begin(), hosts_.end(),
                     [](const Host& host) { return host.state != State::kLost; });
}

void RemoteHosts::lose_all() {
  for (Host& host : hosts_) {
    host.state = State::kLost;
  }
}

void RemoteHosts::rank_joined(LoggedRank who) {
  Host& host = at(host_of(who.rank));
  host.incarnations[who.rank - host.first_rank] = who.incarnation;
}

std::uint32_t RemoteHosts::host_of(std::uint32_t rank) const {
  for (std::uint32_t host = 1; host <= hosts_.size(); ++host) {
    if (has(host, rank)) {
      return host;
    }
  }
  PINION_ASSERT(false);
  return 0;
}

std::uint32_t RemoteHosts::incarnation_of(std::uint32_t rank) const {
  const Host& host = at(host_of(rank));
  return host.incarnations[rank - host.first_rank];
}

bool RemoteHosts::has(std::uint32_t host, std::uint32_t rank) const {
  // A rank below the first wraps around and is too large as well.
  return host >= 1 && host <= hosts_.size() &&
         rank - at(host).first_rank < at(host).incarnations.size();
}

}  // namespace pinion
