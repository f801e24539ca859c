#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/status.hpp>

namespace pinion {

/// What `pinion run` asks of an agent.
struct LaunchSpec {
  std::vector<std::string> command = {};  ///< The program and its arguments; not empty.
  std::uint32_t rank_count = 1;           ///< At least 1.
  bool map_by_core = false;               ///< Else by NUMA node.
  bool bind = true;
  bool allow_oversubscription = false;
  std::vector<unsigned> cpus = {};      ///< The only CPUs to use; empty: all that may be used.
  bool report_bindings = false;         ///< Say on standard error where each rank runs.
  std::uint32_t respawn_count_max = 3;  ///< For each rank that had joined the job.

  /// Settings by name, as options and environment have them; they go to every rank.
  std::vector<std::pair<std::string, std::string>> settings = {};
};

/// Starts an agent that starts the ranks, and waits for the end of the job. SIGINT, SIGTERM,
/// SIGUSR1 and SIGUSR2 go on to the ranks. Call it from a process that has one thread. Blocks:
/// until every process of the job has ended. Returns: the exit status of the first rank that
/// failed, 128 + signal for signals, else 0. Errors: kNotFound when the agent's program is not
/// there; those of starting it.
[[nodiscard]] Result<int> launch(const LaunchSpec& spec);

/// The agent's main function: reads the LaunchSpec from the descriptor that `argv` names and runs
/// the job. For the program `pinion-agent` only.
[[nodiscard]] int run_agent(int argc, char** argv);

/// The ranks, workers and CPUs that launch(spec) would use, one line a rank.
/// Errors: kResourceExhausted when they do not fit; those of finding the machine's CPUs.
[[nodiscard]] Result<std::string> describe_placement(const LaunchSpec& spec);

/// One line for each setting: name, meaning and default.
[[nodiscard]] std::string describe_settings();

}  // namespace pinion
