#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// What a rank is kept inside of, where that is possible.
enum class RankMapping : std::uint8_t { kCore, kNuma, kSocket, kGpu };

/// What the workers of a rank are bound to: nothing, a CPU each, or together the NUMA nodes or
/// sockets of their rank, or the rank's part of the CPUs that are asked for.
enum class RankBinding : std::uint8_t { kNone, kCore, kNuma, kSocket, kCpuList };

/// Who reads the standard input of the job.
enum class InputReader : std::uint8_t {
  kRank0,  ///< Rank 0, in its first life.
  kAll,    ///< Every rank, the whole of it.
  kNone,   ///< Nobody: it is empty for all.
};

/// What the death or the failure of a rank means for the job.
enum class OnFailure : std::uint8_t {
  kAbort,     ///< The others are ended.
  kContinue,  ///< The others go on.
  kRespawn,   ///< One that a signal killed is started again if it had joined; else as kAbort.
};

/// A host of a job, and how many of its ranks run there.
struct HostRanks {
  std::string name;  ///< As the remote shell takes it.
  std::uint32_t rank_count = 1;

  friend bool operator==(const HostRanks&, const HostRanks&) = default;
};

/// What `pinion run` asks of an agent.
struct LaunchSpec {
  std::vector<std::string> command = {};  ///< The program and its arguments; not empty.
  std::uint32_t rank_count = 1;           ///< At least 1; of all hosts together.

  /// Where the ranks run, in blocks, host by host; the first is this machine. Empty: all here.
  std::vector<HostRanks> hosts = {};
  RankMapping map_by = RankMapping::kNuma;
  RankBinding bind_to = RankBinding::kCore;
  bool allow_oversubscription = false;
  std::vector<unsigned> cpus = {};  ///< The only CPUs to use; empty: all that may be used.
  bool report_bindings = false;     ///< Say on standard error where each rank runs.
  bool dry_run = false;             ///< Print where each rank would run, and start none.
  OnFailure on_failure = OnFailure::kRespawn;
  std::uint32_t respawn_count_max = 3;  ///< For each rank, of OnFailure::kRespawn.

  /// Variables of the ranks, beside the environment of the launcher.
  std::vector<std::pair<std::string, std::string>> environment = {};
  std::string working_directory = {};  ///< Of the ranks; empty: that of the launcher.
  InputReader input_reader = InputReader::kRank0;

  /// Whether lines that ranks write begin with the rank, as "[3] " or "[3,err] ".
  bool tag_output = false;

  /// The job is ended when it has not ended by itself then; zero: it may take any time.
  Duration timeout = Duration::zero();

  /// A rank that runs in a debugger at the terminal. The others are started once it has joined.
  std::optional<std::uint32_t> debug_rank = {};

  /// Where the job keeps what it needs to go on after its agent has died; empty: nowhere.
  std::string journal_directory = {};
  bool resumes = false;  ///< Whether it goes on with the journal that is there.

  /// Settings by name, as options and environment have them; they go to every rank.
  std::vector<std::pair<std::string, std::string>> settings = {};
};

/// The variable that "NAME=VALUE" sets, or that "NAME" has in our environment.
/// Errors: kNotFound for a NAME that is not set; kInvalidArgument for what is no name, and for the
/// variables that are each rank's own.
[[nodiscard]] Result<std::pair<std::string, std::string>> variable_to_export(std::string_view text);

/// The hosts that Slurm has allocated to this process, with as many ranks as it counts tasks there;
/// none outside of an allocation.
/// Errors: kInvalidArgument when what Slurm says of them is not understood.
[[nodiscard]] Result<std::vector<HostRanks>> hosts_of_allocation();

/// What resumes the job whose journal is in `journal_directory`, as it was launched.
/// Errors: kNotFound when there is none; kDataLoss when it is damaged; kFailedPrecondition when
///   another version of Pinion made it.
[[nodiscard]] Result<LaunchSpec> spec_to_resume(const std::string& journal_directory);

/// Starts an agent that starts the ranks, and waits for the end of the job. SIGINT, SIGTERM,
/// SIGHUP, SIGUSR1 and SIGUSR2 go on to the ranks. Call it from a process that has one thread.
/// Whatever ends the agent, no process of the job is left. Blocks: until every process of the job
/// has ended. Returns: the exit status of the first rank that failed, 128 + signal for signals, 75
/// when the job took too long, else 0. Errors: kNotFound when the agent's program is not there;
/// those of starting it.
[[nodiscard]] Result<int> launch(const LaunchSpec& spec);

/// Asks that a rank of a running job, on any of its hosts, ends its work in good order, as with
/// Job::drain(). `agent` is the process of the job's first agent. What comes of it the job says on
/// its standard error. Errors: kFailedPrecondition when the process takes no such requests; those
/// of sending a signal.
[[nodiscard]] Status ask_to_drain(std::int64_t agent, std::uint32_t rank);

/// The agent's main function: reads what to do from the descriptor that `argv` names, or, on
/// another host than the first, from standard input, and runs the job. For the program
/// `pinion-agent` only.
[[nodiscard]] int run_agent(int argc, char** argv);

/// The ranks, workers and CPUs that launch(spec) would use, one line a rank: on this machine, or on
/// one that `lstopo FILE.xml` has recorded in `topology_file`. Several hosts are asked by launch(),
/// with `dry_run`.
/// Errors: kResourceExhausted when they do not fit; those of finding the machine's CPUs, and of
/// reading the file; kInvalidArgument for several hosts.
[[nodiscard]] Result<std::string> describe_placement(const LaunchSpec& spec,
                                                     const std::string& topology_file = {});

/// One line for each setting: name, meaning and default.
[[nodiscard]] std::string describe_settings();

}  // namespace pinion
