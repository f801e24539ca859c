#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "launch/exchange.hpp"
#include "launch/launched_job.hpp"

namespace pinion {

/// What all processes of a launch know of the job that they become, beside themselves.
struct LaunchedProgram {
  std::string name = {};
  std::vector<std::pair<std::string, std::string>> settings = {};  ///< Those of process 0 hold.
};

/// The way of a process to its agent.
struct AgentConnection {
  UniqueFd socket;
  bool started_agent = false;
};

using StartAgent = std::function<Result<AgentReport>(const LaunchedHost&)>;

/// Makes the processes of an exchange the ranks of a job: finds out which of them share a host, has
/// the first of each start an agent by `start`, that of process 0 before the others, ends the
/// exchange, and connects to the one of this host. As that lets them in together (LaunchedRanks),
/// none of them can come to the end of the job, and its launcher hear from its next program, while
/// another is still in the exchange. Every process calls it. Blocks: until all have.
/// Errors: those of the exchange; that of an agent that cannot do its part, on every process.
[[nodiscard]] Result<AgentConnection> become_ranks(std::unique_ptr<IExchange> exchange,
                                                   const LaunchedProcess& self,
                                                   const LaunchedProgram& program,
                                                   const StartAgent& start);

}  // namespace pinion
