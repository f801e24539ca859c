#include <pinion/numa/placement.hpp>

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <pinion/numa/cpu_list.hpp>

#include "check_cpus.hpp"
#include "place_within.hpp"

namespace pinion {
namespace {

constexpr std::uint32_t kRankCountMax = 65536;
constexpr std::size_t kWorkersPerRankMax = 65536;

using Cpus = std::vector<unsigned>;

// Some CPUs of one node, neighbours where they share a core.
struct Piece {
  Place place;
  Cpus cpus;
};

// What one rank may use.
using Share = std::vector<Piece>;

std::size_t cpu_count(const Share& share) {
  return std::accumulate(
      share.begin(), share.end(), std::size_t{0},
      [](std::size_t sum, const Piece& piece) { return sum + piece.cpus.size(); });
}

// The nodes that workers can run on, with the CPUs that they may.
Share nodes_with_cpus(const Topology& topology, const PlacementRequest& request) {
  Share pieces;
  for (const NumaNode& node : topology.nodes()) {
    Cpus cpus = node.usable_cpus;
    if (!request.cpus.empty()) {
      std::erase_if(cpus, [&request](unsigned cpu) {
        return std::find(request.cpus.begin(), request.cpus.end(), cpu) == request.cpus.end();
      });
    }
    if (!cpus.empty()) {
      pieces.push_back({{node.place.kind, node.place.index, request.host}, std::move(cpus)});
    }
  }
  return pieces;
}

// Cuts `total` into `parts` counts that differ by at most one, the larger ones first.
std::vector<std::size_t> even_counts(std::size_t total, std::size_t parts) {
  std::vector<std::size_t> counts(parts, total / parts);
  std::fill_n(counts.begin(), total % parts, total / parts + 1);
  return counts;
}

// As even_counts, but a core goes whole to the part that its CPUs fit best.
std::vector<std::size_t> whole_core_counts(const Topology& topology, const Cpus& cpus,
                                           std::size_t parts) {
  std::vector<std::size_t> counts;
  std::size_t begin = 0;
  for (std::size_t left = parts; left > 1; --left) {
    const std::size_t remaining = cpus.size() - begin;
    std::size_t count = 0;
    while (count < remaining) {
      std::size_t next = count + 1;
      while (next < remaining &&
             topology.core_of(cpus[begin + next]) == topology.core_of(cpus[begin + count])) {
        ++next;
      }
      // Take the core while that brings us no further from remaining / left than we are.
      if (count > 0 && (count + next) * left > 2 * remaining) {
        break;
      }
      count = next;
    }
    counts.push_back(count);
    begin += count;
  }
  counts.push_back(cpus.size() - begin);
  return counts;
}

// Precondition: cpus.size() >= parts * minimum, minimum >= 1.
std::vector<std::size_t> cut(const Topology& topology, const Cpus& cpus, std::size_t parts,
                             std::size_t minimum) {
  std::vector<std::size_t> counts = whole_core_counts(topology, cpus, parts);
  if (*std::min_element(counts.begin(), counts.end()) < minimum) {
    counts = even_counts(cpus.size(), parts);
  }
  return counts;
}

// Cuts all CPUs into neighbouring shares, which cross the border of a node where they must.
std::vector<Share> divide_cpus(const Topology& topology, const Share& nodes, std::size_t ranks,
                               std::size_t minimum) {
  Cpus all;
  for (const Piece& node : nodes) {
    all.insert(all.end(), node.cpus.begin(), node.cpus.end());
  }
  std::vector<Share> shares;
  std::size_t node = 0;
  std::size_t used = 0;  // CPUs of `node` that are given away.
  for (std::size_t left : cut(topology, all, ranks, minimum)) {
    Share& share = shares.emplace_back();
    while (left > 0) {
      const std::size_t count = std::min(left, nodes[node].cpus.size() - used);
      const auto begin = nodes[node].cpus.begin() + static_cast<std::ptrdiff_t>(used);
      share.push_back({nodes[node].place, Cpus(begin, begin + static_cast<std::ptrdiff_t>(count))});
      left -= count;
      used += count;
      if (used == nodes[node].cpus.size()) {
        ++node;
        used = 0;
      }
    }
  }
  return shares;
}

// What ranks are kept inside of where that is possible: the nodes one by one, those of a package
// together, or all.
using Domain = Share;

std::vector<Domain> domains_of(const Topology& topology, const Share& nodes, MapBy map_by) {
  if (map_by == MapBy::kCore) {
    return {nodes};
  }
  std::vector<Domain> domains;
  const auto package_of = [&topology](const Piece& piece) {
    return topology.nodes()[piece.place.index].package;
  };
  for (const Piece& node : nodes) {
    const auto same = std::find_if(domains.begin(), domains.end(), [&](const Domain& domain) {
      return map_by == MapBy::kPackage && package_of(node) &&
             package_of(domain.front()) == package_of(node);
    });
    if (same == domains.end()) {
      domains.push_back({node});
    } else {
      same->push_back(node);
    }
  }
  return domains;
}

// Gives every rank one or more whole domains. Empty when some rank would get too few CPUs.
std::vector<Share> deal_domains(const std::vector<Domain>& domains, std::size_t ranks,
                                std::size_t minimum) {
  std::vector<Share> shares;
  auto next = domains.begin();
  for (const std::size_t count : even_counts(domains.size(), ranks)) {
    Share& share = shares.emplace_back();
    for (std::size_t i = 0; i < count; ++i, ++next) {
      share.insert(share.end(), next->begin(), next->end());
    }
    if (cpu_count(share) < minimum) {
      return {};
    }
  }
  return shares;
}

// The domain of each rank.
using Homes = std::vector<std::size_t>;

// Deals the ranks to the domains in turn, passing over full ones. Empty when they do not all fit.
Homes homes_in_turn(const std::vector<Domain>& domains, std::size_t ranks, std::size_t minimum) {
  std::vector<std::size_t> counts(domains.size(), 0);
  Homes homes;
  for (std::size_t domain = 0, full = 0; homes.size() < ranks;
       domain = (domain + 1) % domains.size()) {
    if ((counts[domain] + 1) * minimum <= cpu_count(domains[domain])) {
      ++counts[domain];
      homes.push_back(domain);
      full = 0;
    } else if (++full == domains.size()) {
      return {};
    }
  }
  return homes;
}

std::vector<GpuNear> gpus_of(const Topology& topology, const PlacementRequest& request) {
  std::vector<GpuNear> gpus = request.gpus;
  if (gpus.empty()) {
    for (const GpuInfo& gpu : topology.gpus()) {
      gpus.push_back({.place = gpu.place, .near_node = gpu.near_node});
    }
  }
  return gpus;
}

// Deals the ranks to the GPUs in turn: each belongs to the node of its GPU.
Homes homes_near_gpus(const std::vector<GpuNear>& gpus, const Share& nodes, std::size_t ranks) {
  std::vector<std::size_t> counts(nodes.size(), 0);
  Homes homes(ranks, nodes.size());
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const std::optional<Place>& near = gpus[rank % gpus.size()].near_node;
    for (std::size_t node = 0; near && node < nodes.size(); ++node) {
      if (nodes[node].place.index == near->index) {
        homes[rank] = node;
        ++counts[node];
      }
    }
  }
  for (std::size_t& home : homes) {
    if (home == nodes.size()) {
      home =
          static_cast<std::size_t>(std::min_element(counts.begin(), counts.end()) - counts.begin());
      ++counts[home];
    }
  }
  return homes;
}

// Divides each domain among its ranks. Empty when some domain has too few CPUs for them.
std::vector<Share> share_domains(const Topology& topology, const std::vector<Domain>& domains,
                                 const Homes& homes, std::size_t minimum) {
  std::vector<Share> shares(homes.size());
  for (std::size_t domain = 0; domain < domains.size(); ++domain) {
    const auto count = static_cast<std::size_t>(std::count(homes.begin(), homes.end(), domain));
    if (count * minimum > cpu_count(domains[domain])) {
      return {};
    }
    if (count == 0) {
      continue;
    }
    std::vector<Share> parts = divide_cpus(topology, domains[domain], count, minimum);
    auto part = parts.begin();
    for (std::size_t rank = 0; rank < homes.size(); ++rank) {
      if (homes[rank] == domain) {
        shares[rank] = std::move(*part++);
      }
    }
  }
  return shares;
}

// The CPUs of a domain, one by one.
std::vector<Piece> single_cpus(const Domain& domain) {
  std::vector<Piece> singles;
  for (const Piece& piece : domain) {
    for (const unsigned cpu : piece.cpus) {
      singles.push_back({piece.place, {cpu}});
    }
  }
  return singles;
}

// More ranks than CPUs: one CPU each, dealt in turn.
std::vector<Share> repeat_cpus(const std::vector<Domain>& domains, std::size_t ranks) {
  std::vector<Share> order;  // One CPU each, in the order in which ranks take them.
  std::size_t longest = 0;
  for (const Domain& domain : domains) {
    longest = std::max(longest, cpu_count(domain));
  }
  for (std::size_t i = 0; i < longest; ++i) {
    for (const Domain& domain : domains) {
      if (const std::vector<Piece> singles = single_cpus(domain); i < singles.size()) {
        order.push_back({singles[i]});
      }
    }
  }
  std::vector<Share> shares;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    shares.push_back(order[rank % order.size()]);
  }
  return shares;
}

// As repeat_cpus, for ranks that have a home: the CPUs of that in turn.
std::vector<Share> repeat_cpus_at(const std::vector<Domain>& domains, const Homes& homes) {
  std::vector<std::size_t> counts(domains.size(), 0);
  std::vector<Share> shares;
  for (const std::size_t home : homes) {
    const std::vector<Piece> singles = single_cpus(domains[home]);
    shares.push_back({singles[counts[home]++ % singles.size()]});
  }
  return shares;
}

// The CPUs of each rank. `minimum` is what each needs, and all fit where there are `ranks` CPUs.
std::vector<Share> share_cpus(const Topology& topology, const Share& nodes,
                              const PlacementRequest& request, std::size_t minimum) {
  const std::size_t ranks = request.rank_count;
  const std::vector<Domain> domains = domains_of(topology, nodes, request.map_by);
  const bool by_gpu = request.map_by == MapBy::kGpu;
  const Homes near_gpus =
      by_gpu ? homes_near_gpus(gpus_of(topology, request), nodes, ranks) : Homes();
  if (ranks > cpu_count(nodes)) {
    return by_gpu ? repeat_cpus_at(domains, near_gpus) : repeat_cpus(domains, ranks);
  }
  std::vector<Share> shares;
  if (!by_gpu && ranks < domains.size()) {
    shares = deal_domains(domains, ranks, minimum);
  } else if (const Homes homes = by_gpu ? near_gpus : homes_in_turn(domains, ranks, minimum);
             !homes.empty()) {
    shares = share_domains(topology, domains, homes, minimum);
  }
  return shares.empty() ? divide_cpus(topology, nodes, ranks, minimum) : shares;
}

// What the workers of a rank keep to together. `nodes` is all that may be used.
Cpus rank_cpus(const Topology& topology, const Share& nodes, const Share& share, BindTo bind_to) {
  Cpus cpus;
  if (bind_to == BindTo::kShare) {
    for (const Piece& piece : share) {
      cpus.insert(cpus.end(), piece.cpus.begin(), piece.cpus.end());
    }
  }
  for (const Piece& node : nodes) {
    const bool together = std::any_of(share.begin(), share.end(), [&](const Piece& piece) {
      const std::optional<unsigned> package = topology.nodes()[node.place.index].package;
      return node.place == piece.place || (bind_to == BindTo::kPackage && package &&
                                           package == topology.nodes()[piece.place.index].package);
    });
    if (together && (bind_to == BindTo::kNuma || bind_to == BindTo::kPackage)) {
      cpus.insert(cpus.end(), node.cpus.begin(), node.cpus.end());
    }
  }
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

// `count` of the CPUs of a piece, the first of every core before the second of any.
Cpus choose(const Topology& topology, const Cpus& cpus, std::size_t count) {
  Cpus chosen;
  for (std::size_t turn = 0; chosen.size() < count; ++turn) {
    std::size_t place_in_core = 0;
    for (std::size_t i = 0; i < cpus.size() && chosen.size() < count; ++i) {
      const bool same_core = i > 0 && topology.core_of(cpus[i]) == topology.core_of(cpus[i - 1]);
      place_in_core = same_core ? place_in_core + 1 : 0;
      if (place_in_core == turn) {
        chosen.push_back(cpus[i]);
      }
    }
  }
  return chosen;
}

// Puts the workers of one rank onto its share: one node after the other while CPUs are left, else
// on all of them, in proportion to their CPUs.
RankPlacement place_workers(const Topology& topology, const Share& share, std::size_t workers,
                            bool bind) {
  RankPlacement placement;
  const std::size_t cpus = cpu_count(share);
  std::size_t left = workers;
  std::size_t cpus_behind = cpus;
  for (const Piece& piece : share) {
    if (left == 0) {
      break;
    }
    const std::size_t here = workers <= cpus ? std::min(left, piece.cpus.size())
                                             : left * piece.cpus.size() / cpus_behind;
    const std::size_t bound = bind ? std::min(here, piece.cpus.size()) : 0;
    placement.groups.push_back({piece.place, choose(topology, piece.cpus, bound), here});
    left -= here;
    cpus_behind -= piece.cpus.size();
  }
  return placement;
}

// Lets the groups of a rank know which of the others are near, where the machine tells it.
void add_distances(const Topology& topology, std::vector<WorkerGroup>& groups) {
  for (WorkerGroup& group : groups) {
    for (const WorkerGroup& other : groups) {
      if (const auto distance = topology.distance(group.place.index, other.place.index)) {
        group.distances.push_back(*distance);
      }
    }
  }
}

Status check(const Topology& topology, const PlacementRequest& request) {
  if (request.rank_count == 0 || request.rank_count > kRankCountMax) {
    return {ErrorCode::kInvalidArgument, "the number of ranks is " +
                                             std::to_string(request.rank_count) +
                                             "; it must be 1 to " + std::to_string(kRankCountMax)};
  }
  if (request.workers_per_rank > kWorkersPerRankMax) {
    return {ErrorCode::kInvalidArgument,
            "the number of workers per rank is " + std::to_string(request.workers_per_rank) +
                "; it must be at most " + std::to_string(kWorkersPerRankMax)};
  }
  if (request.map_by == MapBy::kGpu && gpus_of(topology, request).empty()) {
    return {ErrorCode::kFailedPrecondition,
            "ranks are to be mapped by GPU, and the topology shows none; look at pinion topo, or "
            "map by numa"};
  }
  return request.cpus.empty() ? Status() : check_cpus(request.cpus, topology);
}

struct Shortage {
  std::size_t needed;
  std::size_t available;
};

Status too_few_cpus(const Topology& topology, const PlacementRequest& request, Shortage cpus) {
  const std::size_t workers = request.workers_per_rank;
  std::string text =
      std::to_string(request.rank_count) +
      (request.rank_count == 1 ? " rank with " : " ranks with ") +
      (workers == 0 ? "at least 1 worker"
                    : std::to_string(workers) + (workers == 1 ? " worker" : " workers")) +
      (request.rank_count == 1 ? " needs " : " each need ") + std::to_string(cpus.needed) +
      " CPUs; " + std::to_string(cpus.available) + (cpus.available == 1 ? " is" : " are") +
      " available (the machine has " + std::to_string(topology.cpu_count()) +
      ", affinity mask and cpuset allow " + std::to_string(topology.usable_cpu_count());
  if (!request.cpus.empty()) {
    text += ", asked for are " + format_cpu_list(request.cpus);
  }
  if (topology.cpu_quota()) {
    text += ", the CPU quota is " + std::to_string(*topology.cpu_quota());
  }
  text += "); ask for less, or let workers share CPUs with pinion run --oversubscribe";
  return {ErrorCode::kResourceExhausted, std::move(text)};
}

}  // namespace

Result<std::vector<RankPlacement>> place_ranks(const Topology& topology,
                                               const PlacementRequest& request) {
  return place_ranks_within(topology, request, topology.worker_count_max());
}

Result<std::vector<RankPlacement>> place_ranks_within(const Topology& topology,
                                                      const PlacementRequest& request,
                                                      std::size_t worker_limit) {
  PINION_ASSERT(worker_limit >= 1 && worker_limit <= topology.usable_cpu_count());
  PINION_RETURN_IF_ERROR(check(topology, request));
  const Share nodes = nodes_with_cpus(topology, request);
  const std::size_t cpus = cpu_count(nodes);
  const std::size_t limit = std::min(worker_limit, cpus);
  const std::size_t ranks = request.rank_count;
  const std::size_t minimum = std::max<std::size_t>(1, request.workers_per_rank);
  const bool fits = ranks * minimum <= limit;
  if (!fits && !request.allow_oversubscription) {
    return too_few_cpus(topology, request, {ranks * minimum, limit});
  }
  const std::vector<Share> shares = share_cpus(topology, nodes, request, fits ? minimum : 1);
  const std::vector<std::size_t> limits = even_counts(std::max(limit, ranks), ranks);
  const std::vector<GpuNear> gpus = gpus_of(topology, request);
  std::vector<RankPlacement> placements;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    std::size_t workers = request.workers_per_rank;
    if (workers == 0) {
      workers = cpu_count(shares[rank]);
      if (limit < cpus) {
        workers = std::min(workers, limits[rank]);
      }
    }
    RankPlacement& placement = placements.emplace_back(
        place_workers(topology, shares[rank], workers, request.bind_to == BindTo::kCore));
    placement.cpus = rank_cpus(topology, nodes, shares[rank], request.bind_to);
    for (WorkerGroup& group : placement.groups) {
      Share own = shares[rank];
      std::erase_if(own, [&group](const Piece& piece) { return piece.place != group.place; });
      group.shared_cpus = rank_cpus(topology, nodes, own, request.bind_to);
    }
    add_distances(topology, placement.groups);
    if (request.map_by == MapBy::kGpu) {
      placement.gpu = gpus[rank % gpus.size()].place;
      placement.gpu->host = request.host;
    }
  }
  return placements;
}

}  // namespace pinion
