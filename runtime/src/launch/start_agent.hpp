#pragma once

#include <string>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "launch/launched_job.hpp"

namespace pinion {

/// Starts the agent of a host whose ranks are there already. It is nobody's child, so that neither
/// the program hears of its end nor it of the program's; it has no descriptor of ours but standard
/// error. Blocks: until it has said how it stands.
/// Errors: those of finding and starting it; kUnavailable when it ends without a word. What it has
///   to say itself is in the report.
[[nodiscard]] Result<AgentReport> start_agent(const LaunchedHost& host);

/// A connection with the agent that listens there, of the same user.
/// Errors: those of connecting; kPermissionDenied when somebody else has taken its name.
[[nodiscard]] Result<UniqueFd> connect_to_agent(const std::string& socket);

/// A socket that listens under an abstract name that nobody can guess, which goes with it.
struct ListeningSocket {
  UniqueFd descriptor;
  std::string name;
};
[[nodiscard]] Result<ListeningSocket> listen_for_ranks();

/// What a descriptor of a memfd has in it, from its beginning.
[[nodiscard]] Result<std::string> read_description(int descriptor);

}  // namespace pinion
