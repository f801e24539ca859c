#pragma once

#include <CLI/CLI.hpp>

namespace pinion {

/// Adds `pinion shm [PID] [--json]`, which shows the blobs of running jobs: slabs and segments,
/// their owners, and who has references. When it has run, `exit_status` is 0 or the error's.
/// Lifetime: `exit_status` outlives the parsing of `app`.
void add_shm_command(CLI::App& app, int& exit_status);

}  // namespace pinion
