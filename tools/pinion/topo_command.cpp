#include "topo_command.hpp"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/numa/memory_limits.hpp>
#include <pinion/numa/topology.hpp>

#include "topology_view.hpp"

namespace pinion {
namespace {

struct TopoOptions {
  std::optional<std::string> file;
  bool table = false;
  bool json = false;
  bool svg = false;
};

std::string text_of(const TopologyView& view, const TopoOptions& options) {
  return options.json    ? write_json(view)
         : options.svg   ? draw_svg(view)
         : options.table ? draw_table(view)
                         : draw_tree(view);
}

// Nothing where there is no driver: most machines have none.
std::optional<DeviceDiscovery> find_devices(const GpuSources& sources, const Topology& topology) {
  Result<DeviceDiscovery> found = usable_gpus(sources, topology, 0);
  if (found) {
    return *std::move(found);
  }
  if (found.error().code() == ErrorCode::kNotFound) {
    return std::nullopt;
  }
  return DeviceDiscovery{.messages = {found.error().to_string()}};
}

Status show_topology(const TopoOptions& options, const GpuSources& sources) {
  const Result<Topology> topology =
      options.file ? Topology::from_xml(*options.file) : Topology::of_this_machine();
  if (!topology) {
    return topology.error();
  }
  TopologyView view{.topology = *topology};
  if (topology->is_this_machine()) {
    Result<MemoryLimits> memory = memory_limits();
    if (!memory) {
      return std::move(memory).error();
    }
    view.memory = std::move(memory).value();
    view.devices = find_devices(sources, *topology);
  }
  const std::string text = text_of(view, options);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return Status::from_errno(errno, "writing to standard output");
  }
  return {};
}

}  // namespace

void add_topo_command(CLI::App& app, int& exit_status, GpuSources sources) {
  auto options = std::make_shared<TopoOptions>();
  CLI::App* command = app.add_subcommand("topo",
                                         "Show the NUMA nodes, CPUs, GPUs and network adapters of "
                                         "this machine and what of them can be used");
  command
      ->add_option("file", options->file,
                   "A machine recorded by `lstopo FILE.xml`, instead of this one")
      ->type_name("FILE.xml");
  const std::vector<CLI::Option*> forms = {
      command->add_flag("--table", options->table, "Print aligned tables instead of a tree"),
      command->add_flag("--json", options->json, "Print JSON"),
      command->add_flag("--svg", options->svg, "Print a picture: pinion topo --svg > machine.svg")};
  for (CLI::Option* const form : forms) {
    for (CLI::Option* const other : forms) {
      if (other != form) {
        form->excludes(other);
      }
    }
  }
  command->callback([options, sources = std::move(sources), &exit_status] {
    const Status status = show_topology(*options, sources);
    exit_status = error_info(status.code()).exit_status;
    if (!status.ok()) {
      std::fprintf(stderr, "pinion: %s\n", status.to_string().c_str());
    }
  });
}

}  // namespace pinion
