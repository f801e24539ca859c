#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include <pinion/gpu/device_discovery.hpp>

namespace pinion {

/// Where `pinion topo` learns of the GPUs of this machine.
struct TopoSources {
  DeviceVariables variables = {};
  std::string nvml_library = "libnvidia-ml.so.1";
};

/// Adds `pinion topo [FILE.xml] [--table|--json|--svg]`, which shows this machine or a recorded
/// one. When it has run, `exit_status` is 0 or the error's. Lifetime: `exit_status` outlives the
/// parsing of `app`.
void add_topo_command(CLI::App& app, int& exit_status, TopoSources sources);

}  // namespace pinion
