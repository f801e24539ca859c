#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>

#include "launch/launched_process.hpp"

namespace pinion {

/// How the processes of a launcher become the ranks of a job: hosts in the order of their first
/// processes, ranks in blocks host by host, and on each in the order of the processes.
struct LaunchedJob {
  std::vector<HostRanks> hosts = {};
  std::vector<std::uint32_t> host_of = {};   ///< By process.
  std::vector<std::uint32_t> first_of = {};  ///< By host: the process that starts its agent.
};

[[nodiscard]] LaunchedJob job_of(const std::vector<LaunchedProcess>& processes);

/// What the first process of a host tells the agent that it starts there.
struct LaunchedHost {
  LaunchSpec spec = {};
  std::uint32_t host = 0;
  std::vector<LaunchedProcess> processes = {};  ///< Of this host, by local rank.

  // What is the head's to say; not looked at by the head.
  std::uint64_t job = 0;
  std::uint32_t epoch = 1;
  std::string token = {};
  std::string head_address = {};
};

[[nodiscard]] std::string encode_launched_host(const LaunchedHost& host);
/// Errors: kFailedPrecondition for another version of Pinion; kInvalidArgument for what is none.
[[nodiscard]] Result<LaunchedHost> decode_launched_host(std::string_view text);

/// What an agent answers, once it is ready for its ranks or knows that it will not be.
struct AgentReport {
  Status outcome = {};
  std::string socket = {};  ///< Where its ranks reach it: an abstract name.
  std::uint64_t job = 0;
  std::uint32_t epoch = 1;
  std::string token = {};         ///< Of a head of several hosts, as is
  std::string head_address = {};  ///< where other agents reach it.
};

[[nodiscard]] std::string encode_agent_report(const AgentReport& report);
/// Errors: kInvalidArgument for what is none.
[[nodiscard]] Result<AgentReport> decode_agent_report(std::string_view text);

}  // namespace pinion
