#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>

namespace pinion {

/// What the options of `pinion run` say, as they were written.
struct RunOptions {
  std::optional<std::int64_t> rank_count;
  std::optional<std::string> hosts;
  std::string hostfile;
  std::int64_t worker_count = 0;
  std::string map_by = "numa";
  std::string bind_to = "core";
  std::optional<std::string> cpus;
  std::string topology;
  bool oversubscribe = false;
  bool report_bindings = false;
  bool dry_run = false;
  std::vector<std::string> variables;
  std::string working_directory;
  std::optional<std::string> standard_input;
  bool tag_output = false;
  std::optional<std::string> timeout;
  std::string on_failure = "respawn";
  std::optional<std::int64_t> debug_rank;
  bool skip_bad = false;
  std::optional<std::uint64_t> only_shard;
  bool quiet = false;
  std::string trace;
  std::string grant_log;
  std::string journal;
  std::string resume;
  std::vector<std::string> settings;
};

/// Adds the options to the command. Lifetime: `options` must outlive the parsing.
void add_run_options(CLI::App& command, RunOptions& options);

/// The first option that says how to run a program, where only `--resume` and `--quiet` were
/// expected; empty when there is none.
[[nodiscard]] std::string option_beside_resume(const CLI::App& command);

/// What is asked of the agent. Errors: kInvalidArgument and kNotFound; they name the option.
[[nodiscard]] Result<LaunchSpec> spec_of(const RunOptions& options,
                                         std::vector<std::string> command);

}  // namespace pinion
