#pragma once

#include <CLI/CLI.hpp>

namespace pinion {

/// Adds `pinion drain PID RANK...`, which asks a running job to give some ranks nothing more. When
/// it has run, `exit_status` is 0 or the error's. Lifetime: `exit_status` outlives the parsing of
/// `app`.
void add_drain_command(CLI::App& app, int& exit_status);

}  // namespace pinion
