#include "launch/launched_placement.hpp"

#include <sched.h>

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include <pinion/numa/placement.hpp>
#include <pinion/numa/topology.hpp>

#include "agent/affinity_mask.hpp"

namespace pinion {
namespace {

std::vector<unsigned> cpus_of_all(const std::vector<LaunchedProcess>& processes) {
  std::set<unsigned> cpus;
  for (const LaunchedProcess& process : processes) {
    cpus.insert(process.cpus.begin(), process.cpus.end());
  }
  return {cpus.begin(), cpus.end()};
}

}  // namespace

bool have_cpus_of_their_own(const std::vector<LaunchedProcess>& processes) {
  std::size_t count = 0;
  for (const LaunchedProcess& process : processes) {
    count += process.cpus.size();
  }
  return count == cpus_of_all(processes).size();
}

Result<HostPlacement> placement_of_launched(const std::vector<LaunchedProcess>& processes,
                                            const Settings& settings, std::uint32_t host) {
  const std::vector<unsigned> all = cpus_of_all(processes);
  const std::vector<cpu_set_t> mask = affinity_mask(all);
  sched_setaffinity(0, mask.size() * sizeof(cpu_set_t), mask.data());
  const Result<Topology> topology = Topology::of_this_machine(DeviceSearch::kNone);
  if (!topology) {
    return topology.error();
  }
  // How many ranks share a CPU is the launcher's choice.
  PlacementRequest request{.workers_per_rank = settings.workers_per_rank,
                           .allow_oversubscription = true,
                           .host = host,
                           .cpus = all};
  HostPlacement placement{.node_count = topology->nodes().size()};
  if (!have_cpus_of_their_own(processes)) {
    request.rank_count = static_cast<std::uint32_t>(processes.size());
    Result<std::vector<RankPlacement>> ranks = place_ranks(*topology, request);
    if (!ranks) {
      return std::move(ranks).error();
    }
    placement.ranks = *std::move(ranks);
    return placement;
  }
  for (const LaunchedProcess& process : processes) {
    request.cpus = process.cpus;
    Result<std::vector<RankPlacement>> rank = place_ranks(*topology, request);
    if (!rank) {
      return std::move(rank).error();
    }
    placement.ranks.push_back(std::move(rank->front()));
  }
  return placement;
}

}  // namespace pinion
