#include "launch_spec.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <pinion/numa/cpu_list.hpp>
#include <pinion/numa/topology.hpp>
#include <pinion/runtime/version.hpp>

namespace pinion {

using nlohmann::json;

std::string encode_launch_spec(const LaunchSpec& spec) {
  // Not as text: an argument need not be UTF-8.
  std::string encoded;
  json::to_cbor(json{{"version", version()},
                     {"command", spec.command},
                     {"rank_count", spec.rank_count},
                     {"map_by_core", spec.map_by_core},
                     {"bind", spec.bind},
                     {"allow_oversubscription", spec.allow_oversubscription},
                     {"cpus", spec.cpus},
                     {"report_bindings", spec.report_bindings},
                     {"respawn_count_max", spec.respawn_count_max},
                     {"settings", spec.settings}},
                encoded);
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
    value.at("map_by_core").get_to(spec.map_by_core);
    value.at("bind").get_to(spec.bind);
    value.at("allow_oversubscription").get_to(spec.allow_oversubscription);
    value.at("cpus").get_to(spec.cpus);
    value.at("report_bindings").get_to(spec.report_bindings);
    value.at("respawn_count_max").get_to(spec.respawn_count_max);
    value.at("settings").get_to(spec.settings);
    if (spec.command.empty() || spec.rank_count == 0) {
      return Status(ErrorCode::kInvalidArgument, "a launch needs a program and at least one rank");
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

Result<HostPlacement> placement_of(const LaunchSpec& spec, const Settings& settings) {
  Result<Topology> topology = Topology::of_this_machine();
  if (!topology) {
    return std::move(topology).error();
  }
  Result<std::vector<RankPlacement>> ranks =
      place_ranks(*topology, {.rank_count = spec.rank_count,
                              .workers_per_rank = settings.workers_per_rank,
                              .map_by = spec.map_by_core ? MapBy::kCore : MapBy::kNuma,
                              .bind = spec.bind,
                              .allow_oversubscription = spec.allow_oversubscription,
                              .cpus = spec.cpus});
  if (!ranks) {
    return std::move(ranks).error();
  }
  return HostPlacement{std::move(ranks).value(), topology->nodes().size()};
}

std::string describe_rank(std::uint32_t rank, const RankPlacement& placement) {
  std::string text = fmt::format("rank {}:", rank);
  for (const WorkerGroup& group : placement.groups) {
    text += fmt::format(" {} worker{} on NUMA node {}, {};", group.worker_count,
                        group.worker_count == 1 ? "" : "s", group.place.index,
                        group.cpus.empty() ? "not bound" : "CPUs " + format_cpu_list(group.cpus));
  }
  text.pop_back();
  return text;
}

Result<std::string> describe_placement(const LaunchSpec& spec) {
  Result<Settings> settings = settings_of(spec);
  if (!settings) {
    return std::move(settings).error();
  }
  Result<HostPlacement> placement = placement_of(spec, *settings);
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
