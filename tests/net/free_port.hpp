#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace pinion {

/// A port of the loopback that nobody has, for a daemon that takes no socket; another one with each
/// call, 0 when there is none. It lies below those that the system gives to connections, as one of
/// these could be taken before the daemon has begun, and processes look for it far from each other.
/// Thread safety: one thread at a time.
inline int free_port() {
  constexpr int kFirst = 10'000;
  constexpr int kCount = 20'000;
  constexpr int kCallsOfAProcess = 16;
  static int next = static_cast<int>(getpid()) % (kCount / kCallsOfAProcess) * kCallsOfAProcess;
  for (int round = 0; round < kCount; ++round) {
    const int port = kFirst + next++ % kCount;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<in_port_t>(port));
    const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool is_free =
        bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    close(descriptor);
    if (is_free) {
      return port;
    }
  }
  return 0;
}

}  // namespace pinion
