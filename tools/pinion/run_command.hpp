#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace pinion {

/// Adds `pinion run`: starts a program as the ranks of a job. Its exit status goes to
/// `exit_status`. Lifetime: `program` and `exit_status` must outlive the parsing of `app`.
void add_run_command(CLI::App& app, const std::vector<std::string>& program, int& exit_status);

/// Takes the program and its arguments off the end of the arguments of `pinion`, as options behind
/// the program are the program's: what follows the options of `pinion run`, or a `--` among them.
/// Nothing for another command. Precondition: add_run_command() was called.
[[nodiscard]] std::vector<std::string> take_program(const CLI::App& app,
                                                    std::vector<std::string>& arguments);

}  // namespace pinion
