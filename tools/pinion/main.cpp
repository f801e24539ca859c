#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include <pinion/core/status.hpp>
#include <pinion/runtime/version.hpp>

#include "run_command.hpp"
#include "topo_command.hpp"

namespace {

std::string exit_status_table() {
  std::string text = "Exit statuses of Pinion's own:\n";
  for (const pinion::ErrorInfo& row : pinion::error_table()) {
    text += "  " + std::to_string(row.exit_status) + (row.exit_status < 10 ? "   " : "  ") +
            std::string(row.meaning) + "\n";
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  int exit_status = 0;
  CLI::App app("pinion: batch jobs on NUMA machines, GPUs and clusters", "pinion");
  app.set_version_flag("--version", "pinion " + std::string(pinion::version()));
  app.require_subcommand(1);
  app.footer(exit_status_table());
  pinion::add_run_command(app, exit_status);
  pinion::add_topo_command(app, exit_status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "pinion: %s; try pinion --help\n", error.what());
    return pinion::error_info(pinion::ErrorCode::kInvalidArgument).exit_status;
  }
  return exit_status;
}
