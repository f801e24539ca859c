#include "topo_command.hpp"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include <pinion/core/status.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {
namespace {

struct TopoOptions {
  std::optional<std::string> file;
  bool json = false;
};

Status show_topology(const TopoOptions& options) {
  const Result<Topology> topology =
      options.file ? Topology::from_xml(*options.file) : Topology::of_this_machine();
  if (!topology) {
    return topology.error();
  }
  const std::string text = options.json ? topology->to_json() : topology->to_tree();
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return Status::from_errno(errno, "writing to standard output");
  }
  return {};
}

}  // namespace

void add_topo_command(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<TopoOptions>();
  CLI::App* command = app.add_subcommand(
      "topo", "Show the NUMA nodes, CPUs and GPUs of this machine and what of them can be used");
  command
      ->add_option("file", options->file,
                   "A machine recorded by `lstopo FILE.xml`, instead of this one")
      ->type_name("FILE.xml");
  command->add_flag("--json", options->json, "Print JSON instead of a tree");
  command->callback([options, &exit_status] {
    const Status status = show_topology(*options);
    exit_status = error_info(status.code()).exit_status;
    if (!status.ok()) {
      std::fprintf(stderr, "pinion: %s\n", status.to_string().c_str());
    }
  });
}

}  // namespace pinion
