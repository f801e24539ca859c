#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/gpu/hang_limits.hpp>

namespace pinion {

/// Everything a job can be told beside its program. The same names serve as option, environment
/// variable and configuration file entry: `--pinion-batch-shards=8`, `PINION_BATCH_SHARDS=8`,
/// `batch-shards = 8`.
struct Settings {
  std::size_t workers_per_rank = 0;   ///< 0: share the CPUs that may be used.
  std::size_t batch_shard_count = 0;  ///< 0: see batch_shard_count_of().
  Duration batch_duration = std::chrono::seconds(5);
  std::uint64_t batch_bytes = 256u << 20;
  Duration lease_duration = std::chrono::seconds(6);
  std::uint64_t memory_bytes = 0;  ///< Budget of a rank; 0: its share of half of the memory.
  std::string spill_directory = "/var/tmp";  ///< Where blobs go that memory has no room for.
  std::uint64_t spill_bytes_max = std::numeric_limits<std::uint64_t>::max();
  Duration memory_wait = std::chrono::seconds(1);  ///< For memory, before a blob is refused.
  bool huge_pages = true;  ///< Whether ranks share large blobs in huge pages, where they can.
  std::uint64_t seed = 1;
  bool skip_bad = false;                          ///< Go on without shards that are given up.
  std::optional<std::uint64_t> only_shard = {};   ///< Steps that have it run this shard alone.
  Duration late_least = std::chrono::seconds(1);  ///< Age of a lease that a second rank gets too.
  std::uint32_t death_count_max = 2;              ///< Ranks that a shard may kill.
  std::uint64_t combine_bytes = 8u << 20;         ///< Spared at most, from which partials of a host
                                                  ///< are combined before others pull them.
  bool quiet = false;
  std::string trace_directory = {};          ///< Empty: no trace.
  Duration grace = std::chrono::seconds(5);  ///< From SIGTERM to SIGKILL, of ranks that do not end.
  std::string debugger = "gdb --args";       ///< What --debug-rank puts in front of the program.

  /// The command that starts an agent on another host; the host and the agent's command follow it.
  std::string remote_shell = "ssh -o BatchMode=yes";
  std::uint32_t start_width = 16;  ///< Agents that each agent starts at most.
  /// How long what another launcher has started waits for the others of its job to be there.
  Duration join_patience = std::chrono::seconds(60);

  /// Where shards with a kernel run beside the workers: "auto" on the GPUs that there are, "none",
  /// or on emulated devices (parse_emulation_spec()), whose time is then that of the machine.
  std::string devices = "auto";
  HangLimits hang = {};      ///< When a device counts as one that hangs.
  std::string network = {};  ///< By which hosts reach each other, as 10.0.0.0/24; empty: the first.
  std::string transports = {};       ///< Of UCX between hosts, as rc,self; empty: TCP.
  std::string network_devices = {};  ///< For them, as mlx5_0:1; empty: that of the network.
  std::string grant_log = {};        ///< Where grants and acceptances are logged; empty: nowhere.

  // Each breaks one promise, so that tests can show that the promise is kept by the mechanism.
  bool test_no_fast_forward = false;
  bool test_no_acceptance = false;
  bool test_no_descriptors = false;
  bool test_no_fences = false;

  /// The agent stops itself (SIGSTOP) when its grant log has so many lines, so that a test may act
  /// at a moment of the job that it names; 0: never.
  std::uint64_t test_stop_after = 0;
  std::uint64_t test_journal_kill = 0;
};

/// Sets one value. Errors: kInvalidArgument for an unknown name or a value that does not fit; says
/// what would fit.
[[nodiscard]] Status set_setting(Settings& settings, std::string_view name, std::string_view value);

/// Defaults, then the file that PINION_CONFIG names, then the environment.
/// Errors: kInvalidArgument, kNotFound; they name the file or the variable.
[[nodiscard]] Result<Settings> read_settings();

/// Takes the `--pinion-NAME=VALUE` arguments out of argv and applies them. Stops at "--".
[[nodiscard]] Status take_options(Settings& settings, int& argc, char** argv);

/// The settings that take_options() would take, by name.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> given_options(int argc,
                                                                             char* const* argv);

/// Makes the directory for the trace, if one is asked for, before any work is done for it.
/// Errors: those of the file system; kPermissionDenied when it is there and cannot be written.
[[nodiscard]] Status make_trace_directory(const Settings& settings);

/// Most shards in a batch of each of `rank_count` ranks. Of several ranks one may die, and a batch
/// is what that costs, so that one that dies again and again must come to an end of smaller ones; a
/// rank that is alone takes the job along. `incarnation`: which life of the rank it is, from 1 on.
[[nodiscard]] std::size_t batch_shard_count_of(const Settings& settings, std::size_t rank_count,
                                               std::uint32_t incarnation);

/// The value of an environment variable; empty when it is not set.
[[nodiscard]] std::string environment_value(const char* name);

/// The same, telling one that is empty from one that is not set.
[[nodiscard]] std::optional<std::string> find_environment_value(const char* name);

/// One line for each setting: name, default, meaning. For --help.
[[nodiscard]] std::string settings_help();

}  // namespace pinion
