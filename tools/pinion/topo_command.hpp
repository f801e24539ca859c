#pragma once

#include <CLI/CLI.hpp>

#include <pinion/gpu/driver_report.hpp>

namespace pinion {

/// Adds `pinion topo [FILE.xml] [--table|--json|--svg]`, which shows this machine, with the GPUs
/// that `sources` leave, or a recorded one. When it has run, `exit_status` is 0 or the error's.
/// Lifetime: `exit_status` outlives the parsing of `app`.
void add_topo_command(CLI::App& app, int& exit_status, GpuSources sources);

}  // namespace pinion
