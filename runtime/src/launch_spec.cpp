#include "launch_spec.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <pinion/numa/cpu_list.hpp>
#include <pinion/numa/topology.hpp>
#include <pinion/runtime/version.hpp>

namespace pinion {

using nlohmann::json;

namespace {

// False for a number that is none of the `count` enumerators of the type.
template <class Enum>
bool get_enumerator(const json& value, int count, Enum& target) {
  const int number = value.get<int>();
  target = static_cast<Enum>(number);
  return number >= 0 && number < count;
}

}  // namespace

std::string encode_launch_spec(const LaunchSpec& spec) {
  // Not as text: an argument need not be UTF-8.
  std::string encoded;
  json value{{"version", version()},
             {"command", spec.command},
             {"rank_count", spec.rank_count},
             {"map_by", static_cast<int>(spec.map_by)},
             {"bind_to", static_cast<int>(spec.bind_to)},
             {"allow_oversubscription", spec.allow_oversubscription},
             {"cpus", spec.cpus},
             {"report_bindings", spec.report_bindings},
             {"dry_run", spec.dry_run},
             {"on_failure", static_cast<int>(spec.on_failure)},
             {"respawn_count_max", spec.respawn_count_max},
             {"environment", spec.environment},
             {"working_directory", spec.working_directory},
             {"input_reader", static_cast<int>(spec.input_reader)},
             {"tag_output", spec.tag_output},
             {"timeout_ns", spec.timeout.count()},
             {"journal_directory", spec.journal_directory},
             {"resumes", spec.resumes},
             {"settings", spec.settings}};
  value["hosts"] = json::array();
  for (const HostRanks& host : spec.hosts) {
    value["hosts"].push_back({host.name, host.rank_count});
  }
  if (spec.debug_rank) {
    value["debug_rank"] = *spec.debug_rank;
  }
  json::to_cbor(value, encoded);
  return encoded;
}

Result<LaunchSpec> decode_launch_spec(std::string_view text) {
  try {
    const json value = json::from_cbor(text);
    if (const std::string theirs = value.at("version"); theirs != version()) {
      return Status(ErrorCode::kFailedPrecondition, "pinion run is of version " + theirs +
                                                        ", its agent of " + std::string(version()) +
                                                        "; use those of one installation");
    }
    LaunchSpec spec;
    value.at("command").get_to(spec.command);
    value.at("rank_count").get_to(spec.rank_count);
    value.at("allow_oversubscription").get_to(spec.allow_oversubscription);
    value.at("cpus").get_to(spec.cpus);
    value.at("report_bindings").get_to(spec.report_bindings);
    value.at("dry_run").get_to(spec.dry_run);
    value.at("respawn_count_max").get_to(spec.respawn_count_max);
    value.at("environment").get_to(spec.environment);
    value.at("working_directory").get_to(spec.working_directory);
    value.at("tag_output").get_to(spec.tag_output);
    spec.timeout = Duration(value.at("timeout_ns").get<Duration::rep>());
    value.at("journal_directory").get_to(spec.journal_directory);
    value.at("resumes").get_to(spec.resumes);
    for (const json& host : value.at("hosts")) {
      spec.hosts.push_back({host.at(0), host.at(1)});
    }
    if (value.contains("debug_rank")) {
      spec.debug_rank = value.at("debug_rank").get<std::uint32_t>();
    }
    value.at("settings").get_to(spec.settings);
    if (!get_enumerator(value.at("map_by"), 4, spec.map_by) ||
        !get_enumerator(value.at("bind_to"), 5, spec.bind_to) ||
        !get_enumerator(value.at("on_failure"), 3, spec.on_failure) ||
        !get_enumerator(value.at("input_reader"), 3, spec.input_reader)) {
      return Status(ErrorCode::kInvalidArgument, "a launch asks for what no agent can do");
    }
    if (spec.command.empty() || spec.rank_count == 0) {
      return Status(ErrorCode::kInvalidArgument, "a launch needs a program and at least one rank");
    }
    std::uint64_t rank_count = 0;
    for (const HostRanks& host : spec.hosts) {
      rank_count += host.rank_count;
    }
    if (!spec.hosts.empty() && rank_count != spec.rank_count) {
      return Status(ErrorCode::kInvalidArgument,
                    "the hosts of a launch have other ranks than the launch");
    }
    if (spec.debug_rank && *spec.debug_rank >= spec.rank_count) {
      return Status(ErrorCode::kInvalidArgument, "the rank to debug is none of the launch");
    }
    return spec;
  } catch (const json::exception& error) {
    return Status(ErrorCode::kInvalidArgument,
                  std::string("the launch description cannot be read: ") + error.what());
  }
}

Result<Settings> settings_of(const LaunchSpec& spec) {
  Result<Settings> settings = read_settings();
  if (!settings) {
    return settings;
  }
  for (const auto& [name, value] : spec.settings) {
    PINION_RETURN_IF_ERROR(set_setting(*settings, name, value));
  }
  return settings;
}

namespace {

MapBy map_by(RankMapping mapping) {
  switch (mapping) {
    case RankMapping::kCore:
      return MapBy::kCore;
    case RankMapping::kSocket:
      return MapBy::kPackage;
    case RankMapping::kGpu:
      return MapBy::kGpu;
    case RankMapping::kNuma:
      break;
  }
  return MapBy::kNuma;
}

BindTo bind_to(RankBinding binding) {
  switch (binding) {
    case RankBinding::kNone:
      return BindTo::kNone;
    case RankBinding::kNuma:
      return BindTo::kNuma;
    case RankBinding::kSocket:
      return BindTo::kPackage;
    case RankBinding::kCpuList:
      return BindTo::kShare;
    case RankBinding::kCore:
      break;
  }
  return BindTo::kCore;
}

}  // namespace

HostShare share_of(const LaunchSpec& spec, std::uint32_t host) {
  if (spec.hosts.empty()) {
    return {.rank_count = spec.rank_count};
  }
  HostShare share{.host = host, .rank_count = spec.hosts.at(host).rank_count};
  for (std::uint32_t before = 0; before < host; ++before) {
    share.first_rank += spec.hosts[before].rank_count;
  }
  return share;
}

Result<HostPlacement> placement_of(const LaunchSpec& spec, const Settings& settings,
                                   const std::string& topology_file, std::uint32_t host) {
  // Devices take most of the time that it takes to start `true`.
  const DeviceSearch search =
      spec.map_by == RankMapping::kGpu ? DeviceSearch::kAll : DeviceSearch::kNone;
  Result<Topology> topology =
      topology_file.empty() ? Topology::of_this_machine(search) : Topology::from_xml(topology_file);
  if (!topology) {
    return std::move(topology).error();
  }
  HostPlacement placement{.node_count = topology->nodes().size()};
  PlacementRequest request{.rank_count = share_of(spec, host).rank_count,
                           .workers_per_rank = settings.workers_per_rank,
                           .map_by = map_by(spec.map_by),
                           .bind_to = bind_to(spec.bind_to),
                           .allow_oversubscription = spec.allow_oversubscription,
                           .host = host,
                           .cpus = spec.cpus};
  if (spec.map_by == RankMapping::kGpu) {
    const std::optional<GpuSources> sources =
        topology_file.empty() ? std::optional(GpuSources{.variables = device_variables()})
                              : std::nullopt;
    Result<GpuMapping> gpus = gpus_to_map(settings.devices, *topology, sources);
    if (!gpus) {
      return std::move(gpus).error();
    }
    for (const MappedGpu& gpu : gpus->gpus) {
      request.gpus.push_back(gpu.gpu);
    }
    placement.gpus = *std::move(gpus);
  }
  Result<std::vector<RankPlacement>> ranks = place_ranks(*topology, request);
  if (!ranks) {
    return std::move(ranks).error();
  }
  placement.ranks = *std::move(ranks);
  return placement;
}

std::string describe_rank(std::uint32_t rank, const RankPlacement& placement) {
  std::string text = fmt::format("rank {}:", rank);
  // Whether those on a node keep to its part of what the rank has.
  const bool divided = std::any_of(
      placement.groups.begin(), placement.groups.end(), [&placement](const WorkerGroup& group) {
        return !group.shared_cpus.empty() && group.shared_cpus != placement.cpus;
      });
  for (const WorkerGroup& group : placement.groups) {
    text += fmt::format(" {} worker{} on NUMA node {}", group.worker_count,
                        group.worker_count == 1 ? "" : "s", group.place.index);
    if (!group.cpus.empty()) {
      text += ", CPUs " + format_cpu_list(group.cpus);
    } else if (divided && !group.shared_cpus.empty()) {
      text += ", all on CPUs " + format_cpu_list(group.shared_cpus);
    } else if (placement.cpus.empty()) {
      text += ", not bound";
    }
    text += ";";
  }
  if (!placement.cpus.empty() && !divided) {
    text += " all on CPUs " + format_cpu_list(placement.cpus) + ";";
  }
  if (placement.gpu) {
    text += fmt::format(" near GPU {};", placement.gpu->index);
  }
  text.pop_back();
  return text;
}

Result<std::string> describe_placement(const LaunchSpec& spec, const std::string& topology_file) {
  if (spec.hosts.size() > 1) {
    return Status(ErrorCode::kInvalidArgument,
                  "--topology describes one machine; with --host, --dry-run asks each host itself");
  }
  Result<Settings> settings = settings_of(spec);
  if (!settings) {
    return std::move(settings).error();
  }
  Result<HostPlacement> placement = placement_of(spec, *settings, topology_file);
  if (!placement) {
    return std::move(placement).error();
  }
  std::string text;
  for (std::uint32_t rank = 0; rank < placement->ranks.size(); ++rank) {
    text += describe_rank(rank, placement->ranks[rank]) + "\n";
  }
  return text;
}

std::string describe_settings() {
  return settings_help();
}

}  // namespace pinion
