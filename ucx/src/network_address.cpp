#include "network_address.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>

namespace pinion {
namespace {

constexpr std::string_view kScheme = "ucx:";

std::optional<NetworkAddress> parse_ip(const std::string& text, std::uint16_t port) {
  NetworkAddress address;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    return address;
  }
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    return address;
  }
  return std::nullopt;
}

std::string format_ip(const NetworkAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text = {};
  if (address.storage.ss_family == AF_INET6) {
    const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
  } else {
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    ::inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
  }
  return text.data();
}

Status no_address(std::string_view text) {
  return {ErrorCode::kInvalidArgument, "'" + std::string(text) +
                                           "' is no address of a transport over UCX; "
                                           "ucx:IP:PORT is expected"};
}

bool same_ip(const NetworkAddress& wanted, const sockaddr& other) {
  NetworkAddress address;
  if (other.sa_family != wanted.storage.ss_family) {
    return false;
  }
  address.storage.ss_family = other.sa_family;
  std::memcpy(&address.storage, &other, address.size());
  return format_ip(address) == format_ip(wanted);
}

}  // namespace

std::string format_address(const NetworkAddress& address) {
  const bool v6 = address.storage.ss_family == AF_INET6;
  const std::uint16_t port = v6 ? reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_port
                                : reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port;
  const std::string ip = format_ip(address);
  return std::string(kScheme) + (v6 ? "[" + ip + "]" : ip) + ":" + std::to_string(ntohs(port));
}

Result<NetworkAddress> parse_address(std::string_view text) {
  std::string_view rest = text;
  const std::size_t colon = rest.rfind(':');
  if (!rest.starts_with(kScheme) || colon < kScheme.size()) {
    return no_address(text);
  }
  const std::string_view port_text = rest.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] =
      std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  rest = rest.substr(kScheme.size(), colon - kScheme.size());
  if (rest.starts_with('[') && rest.ends_with(']')) {
    rest = rest.substr(1, rest.size() - 2);
  }
  const std::optional<NetworkAddress> address = parse_ip(std::string(rest), port);
  if (error != std::errc() || end != port_text.data() + port_text.size() || port == 0 || !address) {
    return no_address(text);
  }
  return *address;
}

Result<ListenPlace> find_listen_place(const std::string& ip, const std::string& device) {
  const std::optional<NetworkAddress> wanted = parse_ip(ip, 0);
  if (!ip.empty() && !wanted) {
    return Status(ErrorCode::kInvalidArgument, "listen_address is '" + ip + "', no IP address");
  }
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) {
    return Status::from_errno(errno, "list the network interfaces");
  }
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(first, ::freeifaddrs);
  std::optional<ListenPlace> loopback;
  for (const ifaddrs* at = first; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_UP) == 0 ||
        (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6)) {
      continue;
    }
    ListenPlace place = {.address = {}, .device = at->ifa_name};
    place.address.storage.ss_family = at->ifa_addr->sa_family;
    std::memcpy(&place.address.storage, at->ifa_addr, place.address.size());
    if (wanted) {
      if (same_ip(*wanted, *at->ifa_addr)) {
        return place;
      }
    } else if (!device.empty()) {
      if (device == at->ifa_name) {
        return place;
      }
    } else if (at->ifa_addr->sa_family == AF_INET) {
      if ((at->ifa_flags & IFF_LOOPBACK) == 0) {
        return place;
      }
      loopback = loopback ? loopback : place;
    }
  }
  if (!wanted && device.empty() && loopback) {
    return *loopback;
  }
  return Status(ErrorCode::kNotFound,
                "no network interface that is up has " + (wanted           ? "the address " + ip
                                                          : device.empty() ? "an address"
                                                                           : "the name " + device));
}

}  // namespace pinion
