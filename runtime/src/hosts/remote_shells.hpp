#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <vector>

#include <pinion/core/status.hpp>

#include "agent/output_relay.hpp"
#include "hosts/host_launch.hpp"
#include "hosts/remote_shell.hpp"

namespace pinion {

/// The hosts whose agents that of `host` starts, where each agent starts `width` others. Every host
/// but the first is started by one, with a smaller number.
/// Precondition: width > 0.
[[nodiscard]] std::vector<std::uint32_t> hosts_started_by(std::uint32_t host,
                                                          std::uint32_t host_count,
                                                          std::uint32_t width);

/// The host whose agent starts that of `host`. Precondition: host > 0, width > 0.
[[nodiscard]] constexpr std::uint32_t starter_of(std::uint32_t host, std::uint32_t width) noexcept {
  return (host - 1) / width;
}

/// The remote shells by which one agent has started others.
///
/// Thread safety: none. Nothing blocks.
class RemoteShells {
 public:
  struct End {
    std::uint32_t host = 0;
    int wait_status = 0;
  };

  /// Starts the agents that the one of `launch.host` has to start, by what `launch` says; each is
  /// told the same, with its own host. What the shells say goes to `output`.
  /// Errors: those of starting a remote shell; some may have been started then.
  [[nodiscard]] Status start(HostLaunch launch, OutputRelay& output);

  /// Adds what has to be waited for, for serve().
  void watch(std::vector<pollfd>& watched) const;

  /// Writes to the shells what they take. Returns those that have ended since the last call.
  [[nodiscard]] std::vector<End> serve();

  [[nodiscard]] bool any_runs() const noexcept { return !shells_.empty(); }
  [[nodiscard]] bool is_process_of_one(pid_t pid) const;
  void kill(std::uint32_t host);
  void kill_all();

  /// Leaves them to themselves: each ends with this process, or stays where it has become an agent
  /// that does not need this one any more.
  void let_go();

 private:
  std::map<std::uint32_t, RemoteShell> shells_;  // By host; those that run.
};

}  // namespace pinion
