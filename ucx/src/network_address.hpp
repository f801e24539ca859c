#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include <pinion/core/status.hpp>

namespace pinion {

/// An IP address with a port.
struct NetworkAddress {
  sockaddr_storage storage = {};

  [[nodiscard]] const sockaddr* data() const noexcept {
    return reinterpret_cast<const sockaddr*>(&storage);
  }
  [[nodiscard]] socklen_t size() const noexcept {
    return storage.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  }
};

/// "ucx:10.0.0.1:4711", "ucx:[fe80::1]:4711".
[[nodiscard]] std::string format_address(const NetworkAddress& address);

/// Errors: kInvalidArgument for what format_address() does not give.
[[nodiscard]] Result<NetworkAddress> parse_address(std::string_view text);

/// Where to listen, and which device that is.
struct ListenPlace {
  NetworkAddress address;  ///< Port 0.
  std::string device;
};

/// The place with that IP address; if it is empty, the first address of `device`; if that is empty,
/// too, that of the first network which is up and no loopback, or else of the loopback.
/// Errors: kInvalidArgument for text that is no IP address; kNotFound when this host has no such
///   address or device.
[[nodiscard]] Result<ListenPlace> find_listen_place(const std::string& ip,
                                                    const std::string& device);

}  // namespace pinion
