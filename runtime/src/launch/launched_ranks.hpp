#pragma once

#include <poll.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "agent/rank_process.hpp"
#include "launch/launched_process.hpp"
#include "launch/start_agent.hpp"

namespace pinion {

/// The ranks of a host that its agent has not started, as their agent sees them: those that are
/// still to connect, and the launcher whose processes they are.
///
/// Thread safety: none. Nothing blocks.
class LaunchedRanks {
 public:
  struct Arrival {
    std::uint32_t rank = 0;  ///< Of this host.
    RankProcess process;
  };

  /// Those that have not connected at `deadline` are not expected any more.
  /// Errors: those of making a socket, and of watching processes that are there.
  [[nodiscard]] static Result<LaunchedRanks> create(const std::vector<LaunchedProcess>& processes,
                                                    Instant deadline);

  [[nodiscard]] const std::string& socket_name() const noexcept { return listening_.name; }

  /// Adds what has to be waited for.
  void watch(std::vector<pollfd>& watched) const;

  /// All ranks that have connected, once no other is still to. Whoever is no rank is cut off.
  [[nodiscard]] std::vector<Arrival> take_arrivals();

  /// The ranks that will never connect, since the last call: their processes have ended, or it is
  /// too late.
  [[nodiscard]] std::vector<std::uint32_t> take_absent(Instant now);

  /// Whether some have neither been taken as arrivals nor as absent.
  [[nodiscard]] bool any_expected() const noexcept;
  [[nodiscard]] Instant deadline() const noexcept { return deadline_; }

  /// Whether the launcher has ended, where it was not said before.
  [[nodiscard]] bool launcher_has_ended();

  /// Kills those that are expected.
  void kill_expected() const;

 private:
  struct Expected {
    std::uint32_t rank = 0;
    pid_t pid = 0;
    UniqueFd watch;                       // Not valid where the process was over before we came.
    std::optional<Channel> channel = {};  // Once it has connected.
  };

  LaunchedRanks(ListeningSocket listening, Instant deadline)
      : listening_(std::move(listening)), deadline_(deadline) {}
  void let_in();
  void let_in(UniqueFd socket);

  ListeningSocket listening_;
  Instant deadline_;
  std::vector<Expected> expected_;
  std::vector<UniqueFd> launchers_;
  bool launcher_was_over_ = false;  // Before we came.
};

}  // namespace pinion
