#pragma once

#include <CLI/CLI.hpp>

namespace pinion {

/// Adds `pinion run`: starts a program as the ranks of a job. Its exit status goes to
/// `exit_status`. Lifetime: `exit_status` must outlive the parsing of `app`.
void add_run_command(CLI::App& app, int& exit_status);

}  // namespace pinion
