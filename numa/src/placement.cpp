#include <pinion/numa/placement.hpp>

#include <algorithm>
#include <numeric>
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

// Gives every rank one or more whole nodes. Empty when some rank would get too few CPUs.
std::vector<Share> deal_nodes(const Share& nodes, std::size_t ranks, std::size_t minimum) {
  std::vector<Share> shares;
  auto next = nodes.begin();
  for (const std::size_t count : even_counts(nodes.size(), ranks)) {
    shares.emplace_back(next, next + static_cast<std::ptrdiff_t>(count));
    next += static_cast<std::ptrdiff_t>(count);
    if (cpu_count(shares.back()) < minimum) {
      return {};
    }
  }
  return shares;
}

// Deals the ranks to the nodes in turn, passing over full nodes. Empty when they do not all fit.
std::vector<Share> deal_ranks(const Topology& topology, const Share& nodes, std::size_t ranks,
                              std::size_t minimum) {
  std::vector<std::vector<std::size_t>> ranks_of(nodes.size());
  for (std::size_t rank = 0, node = 0, full = 0; rank < ranks; node = (node + 1) % nodes.size()) {
    if ((ranks_of[node].size() + 1) * minimum <= nodes[node].cpus.size()) {
      ranks_of[node].push_back(rank++);
      full = 0;
    } else if (++full == nodes.size()) {
      return {};
    }
  }
  std::vector<Share> shares(ranks);
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    if (ranks_of[node].empty()) {
      continue;
    }
    const Cpus& cpus = nodes[node].cpus;
    auto begin = cpus.begin();
    const std::vector<std::size_t> counts = cut(topology, cpus, ranks_of[node].size(), minimum);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const auto end = begin + static_cast<std::ptrdiff_t>(counts[i]);
      shares[ranks_of[node][i]] = {{nodes[node].place, Cpus(begin, end)}};
      begin = end;
    }
  }
  return shares;
}

// More ranks than CPUs: one CPU each, dealt in turn.
std::vector<Share> repeat_cpus(const Share& nodes, std::size_t ranks, MapBy map_by) {
  std::vector<Share> order;  // One CPU each, in the order in which ranks take them.
  std::size_t longest = 0;
  for (const Piece& node : nodes) {
    longest = std::max(longest, node.cpus.size());
    for (std::size_t i = 0; map_by == MapBy::kCore && i < node.cpus.size(); ++i) {
      order.push_back({{node.place, {node.cpus[i]}}});
    }
  }
  for (std::size_t i = 0; map_by == MapBy::kNuma && i < longest; ++i) {
    for (const Piece& node : nodes) {
      if (i < node.cpus.size()) {
        order.push_back({{node.place, {node.cpus[i]}}});
      }
    }
  }
  std::vector<Share> shares;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    shares.push_back(order[rank % order.size()]);
  }
  return shares;
}

std::vector<Share> share_cpus(const Topology& topology, const Share& nodes, std::size_t ranks,
                              std::size_t minimum, MapBy map_by) {
  std::vector<Share> shares;
  if (map_by == MapBy::kNuma) {
    shares = ranks < nodes.size() ? deal_nodes(nodes, ranks, minimum)
                                  : deal_ranks(topology, nodes, ranks, minimum);
  }
  return shares.empty() ? divide_cpus(topology, nodes, ranks, minimum) : shares;
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
  const std::vector<Share> shares =
      ranks <= cpus ? share_cpus(topology, nodes, ranks, fits ? minimum : 1, request.map_by)
                    : repeat_cpus(nodes, ranks, request.map_by);

  const std::vector<std::size_t> limits = even_counts(std::max(limit, ranks), ranks);
  std::vector<RankPlacement> placements;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    std::size_t workers = request.workers_per_rank;
    if (workers == 0) {
      workers = cpu_count(shares[rank]);
      if (limit < cpus) {
        workers = std::min(workers, limits[rank]);
      }
    }
    placements.push_back(place_workers(topology, shares[rank], workers, request.bind));
  }
  return placements;
}

}  // namespace pinion
