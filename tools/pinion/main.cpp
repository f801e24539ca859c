#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>
#include <pinion/runtime/version.hpp>

#include "drain_command.hpp"
#include "run_command.hpp"
#include "shm_command.hpp"
#include "sim_command.hpp"
#include "topo_command.hpp"

namespace {

std::string exit_status_table() {
  std::string text = "Exit statuses of Pinion's own:\n";
  const auto table = pinion::error_table();
  std::vector<pinion::ErrorInfo> rows(table.begin(), table.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.exit_status < b.exit_status; });
  for (const pinion::ErrorInfo& row : rows) {
    text += "  " + std::to_string(row.exit_status) + (row.exit_status < 10 ? "   " : "  ") +
            std::string(row.meaning) + "\n";
  }
  return text;
}

std::optional<std::string> variable(const char* name) {
  auto found = pinion::variable_to_export(name);
  return found ? std::optional(std::move(found->second)) : std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  int exit_status = 0;
  CLI::App app("pinion: batch jobs on all cores of a machine", "pinion");
  app.footer(exit_status_table());
  std::vector<std::string> program;
  pinion::add_drain_command(app, exit_status);
  pinion::add_run_command(app, program, exit_status);
  pinion::add_shm_command(app, exit_status);
  pinion::add_sim_command(app, exit_status);
  pinion::add_topo_command(
      app, exit_status,
      {.variables = {.cuda_visible_devices = variable("CUDA_VISIBLE_DEVICES"),
                     .slurm_step_gpus = variable("SLURM_STEP_GPUS"),
                     .slurm_job_gpus = variable("SLURM_JOB_GPUS"),
                     .nvidia_visible_devices = variable("NVIDIA_VISIBLE_DEVICES")}});
  const std::string version = "pinion " + std::string(pinion::version());
  app.set_version_flag("--version", version);
  for (CLI::App* const command : app.get_subcommands([](const CLI::App*) { return true; })) {
    command->set_version_flag("--version", version);
  }
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  program = pinion::take_program(app, arguments);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back.
  try {
    app.parse(std::move(arguments));
    if (app.get_subcommands().empty()) {
      throw CLI::RequiredError("a command, drain, run, shm, sim or topo,");
    }
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "pinion: %s; try pinion --help\n", error.what());
    return pinion::error_info(pinion::ErrorCode::kInvalidArgument).exit_status;
  }
  return exit_status;
}
