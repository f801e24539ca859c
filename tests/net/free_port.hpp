#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace pinion {

/// A port of the loopback that nobody listened on a moment ago, for a daemon that takes no socket.
/// Another process may be faster.
inline int free_port() {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  bind(descriptor, reinterpret_cast<const sockaddr*>(&address), size);
  getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size);
  close(descriptor);
  return ntohs(address.sin_port);
}

}  // namespace pinion
