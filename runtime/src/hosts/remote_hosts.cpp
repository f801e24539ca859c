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
