#pragma once

#include <CLI/CLI.hpp>

namespace pinion {

/// Adds `pinion sim`, which simulates a job: its coordinator and its ranks, and what goes wrong.
/// When it has run, `exit_status` is 0 or the error's; that of a broken guarantee is INTERNAL's.
/// Lifetime: `exit_status` outlives the parsing of `app`.
void add_sim_command(CLI::App& app, int& exit_status);

}  // namespace pinion
