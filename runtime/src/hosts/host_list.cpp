#include "hosts/host_list.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

namespace pinion {
namespace {

std::string own_name() {
  std::array<char, 256> name = {};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

// The bytes of an IP address, of 4 or 16; none for what is none.
std::vector<std::uint8_t> bytes_of(const std::string& address) {
  std::array<std::uint8_t, sizeof(in6_addr)> bytes = {};
  if (inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) {
    return {bytes.begin(), bytes.begin() + sizeof(in_addr)};
  }
  if (inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1) {
    return {bytes.begin(), bytes.end()};
  }
  return {};
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> addresses;
  ifaddrs* found = nullptr;
  if (getifaddrs(&found) != 0) {
    return addresses;
  }
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> all(found, freeifaddrs);
  for (const ifaddrs* it = found; it != nullptr; it = it->ifa_next) {
    const int family = it->ifa_addr == nullptr ? AF_UNSPEC : it->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) {
      continue;
    }
    std::array<char, NI_MAXHOST> text = {};
    const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    if (getnameinfo(it->ifa_addr, size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) ==
        0) {
      addresses.emplace_back(text.data());
    }
  }
  return addresses;
}

bool have_in_common(const std::vector<std::uint8_t>& one, const std::vector<std::uint8_t>& other,
                    unsigned bit_count) {
  if (one.size() != other.size()) {
    return false;
  }
  for (unsigned bit = 0; bit < bit_count; ++bit) {
    const unsigned mask = 0x80u >> (bit % 8);
    if (((one[bit / 8] ^ other[bit / 8]) & mask) != 0) {
      return false;
    }
  }
  return true;
}

bool is_one_of(const std::string& text, const std::vector<std::string>& all) {
  return std::find(all.begin(), all.end(), text) != all.end();
}

std::string_view first_label(std::string_view name) {
  return name.substr(0, name.find('.'));
}

// A remote shell is given it as an argument, and must not take it for an option or for two words.
bool can_be_name(const std::string& name) {
  for (const char c : name) {
    if (std::isspace(static_cast<unsigned char>(c)) != 0 ||
        std::iscntrl(static_cast<unsigned char>(c)) != 0) {
      return false;
    }
  }
  return !name.empty() && name.front() != '-';
}

}  // namespace

bool is_this_host(const std::string& name) {
  const std::string own = own_name();
  const bool is_short = name.find('.') == std::string::npos || own.find('.') == std::string::npos;
  return name == "localhost" || name == own ||
         (is_short && !own.empty() && first_label(name) == first_label(own)) ||
         (!bytes_of(name).empty() && is_one_of(name, own_addresses()));
}

Result<std::string> own_address_in(const std::string& network) {
  if (network.empty()) {
    return network;
  }
  const std::size_t slash = std::min(network.find('/'), network.size());
  const std::vector<std::uint8_t> wanted = bytes_of(network.substr(0, slash));
  unsigned bit_count = static_cast<unsigned>(wanted.size() * 8);
  if (slash < network.size()) {
    const char* const end = network.data() + network.size();
    const auto [last, error] = std::from_chars(network.data() + slash + 1, end, bit_count);
    bit_count = error == std::errc() && last == end ? bit_count : ~0u;
  }
  if (wanted.empty() || bit_count > wanted.size() * 8) {
    return Status(ErrorCode::kInvalidArgument,
                  "network is '" + network + "'; it must be one as 10.0.0.0/24");
  }
  const std::vector<std::string> own = own_addresses();
  const auto found = std::find_if(own.begin(), own.end(), [&](const std::string& address) {
    return have_in_common(wanted, bytes_of(address), bit_count);
  });
  if (found == own.end()) {
    return Status(ErrorCode::kNotFound, own_name() + " has no address in the network " + network);
  }
  return *found;
}

Status check_hosts(const LaunchSpec& spec) {
  for (const HostRanks& host : spec.hosts) {
    if (!can_be_name(host.name)) {
      return {ErrorCode::kInvalidArgument, "'" + host.name + "' cannot be the name of a host"};
    }
  }
  if (!spec.hosts.empty() && !is_this_host(spec.hosts.front().name)) {
    return {ErrorCode::kInvalidArgument,
            "the first host is " + spec.hosts.front().name + ", and this machine is " + own_name() +
                ": a job is started on its first host. Start it there, or name localhost first"};
  }
  if (spec.hosts.size() > 1 && spec.debug_rank && *spec.debug_rank >= spec.hosts[0].rank_count) {
    return {ErrorCode::kUnimplemented,
            "--debug-rank " + std::to_string(*spec.debug_rank) +
                " does not run on the first host, where the terminal of its debugger is; give one "
                "below " +
                std::to_string(spec.hosts[0].rank_count)};
  }
  return {};
}

}  // namespace pinion
