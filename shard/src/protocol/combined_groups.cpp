#include "protocol/combined_groups.hpp"

#include <algorithm>

namespace pinion::protocol {
namespace {

constexpr std::uint64_t divide_up(std::uint64_t value, std::uint64_t by) {
  return value / by + (value % by == 0 ? 0 : 1);
}

std::vector<CombinedGroup> groups_of_hosts(std::span<const PartialsOfHost> hosts,
                                           const CombineTerms& terms) {
  std::vector<CombinedGroup> groups;
  for (const PartialsOfHost& host : hosts) {
    const bool is_worth = host.count > 1 && host.size_bytes - host.largest_bytes >= terms.bytes_min;
    groups.push_back({.hosts = {host.host}, .is_left = !is_worth, .member_bytes = host.size_bytes});
  }
  return groups;
}

/// Precondition: a partition, and a host that can merge.
bool another_level_pays(std::uint64_t group_count, std::uint64_t bytes_of_host,
                        const CombineTerms& terms) {
  // In partitions of a host, times the hosts.
  const std::uint64_t owned = std::max(terms.partition_count, terms.host_count);
  const std::uint64_t without = owned * (group_count - 1);
  const std::uint64_t with = divide_up(terms.partition_count, 2) * terms.host_count +
                             owned * (divide_up(group_count, 2) - 1);
  return without > with &&
         (without - with) * (bytes_of_host / terms.partition_count) / terms.host_count >=
             terms.bytes_min;
}

/// One that has no other stays as it is.
std::vector<std::uint32_t> join_pairs(std::vector<CombinedGroup>& groups,
                                      const std::vector<std::uint32_t>& tops, std::uint32_t level) {
  std::vector<std::uint32_t> joined;
  for (std::size_t i = 0; i + 1 < tops.size(); i += 2) {
    CombinedGroup pair{.level = level, .children = {tops[i], tops[i + 1]}};
    const auto place = static_cast<std::uint32_t>(groups.size());
    for (const std::uint32_t child : pair.children) {
      CombinedGroup& part = groups[child];
      pair.hosts.insert(pair.hosts.end(), part.hosts.begin(), part.hosts.end());
      part.parent = place;
    }
    joined.push_back(place);
    groups.push_back(std::move(pair));
  }
  if (tops.size() % 2 == 1) {
    joined.push_back(tops.back());
  }
  return joined;
}

}  // namespace

std::string CombinedGroup::in_words() const {
  const std::string first = std::to_string(hosts.front());
  return hosts.size() == 1 ? "host " + first
                           : std::to_string(hosts.size()) + " hosts from " + first + " to " +
                                 std::to_string(hosts.back());
}

std::vector<CombinedGroup> choose_groups(std::span<const PartialsOfHost> hosts,
                                         const CombineTerms& terms) {
  std::vector<CombinedGroup> groups = groups_of_hosts(hosts, terms);
  if (hosts.empty() || terms.partition_count == 0 || terms.host_count == 0) {
    return {};
  }
  std::uint64_t bytes_of_host = 0;
  std::vector<std::uint32_t> tops;
  for (const PartialsOfHost& host : hosts) {
    bytes_of_host += host.largest_bytes / hosts.size();
    tops.push_back(static_cast<std::uint32_t>(tops.size()));
  }
  const std::uint64_t group_count_max = terms.unit_count_max / terms.partition_count;
  for (std::uint32_t level = 1; groups.size() + tops.size() / 2 <= group_count_max &&
                                another_level_pays(tops.size(), bytes_of_host, terms);
       ++level) {
    tops = join_pairs(groups, tops, level);
  }
  if (groups.size() == hosts.size()) {
    std::erase_if(groups, [](const CombinedGroup& group) { return group.is_left; });
  }
  if (groups.size() > group_count_max) {
    groups.clear();
  }
  return groups;
}

std::uint32_t host_for(std::span<const CombinedGroup> groups, const CombinedGroup& group,
                       std::uint32_t partition) {
  const CombinedGroup* at = &group;
  while (at->level > 0) {
    at = &groups[at->children[partition >> (at->level - 1) & 1U]];
  }
  return at->hosts.front();
}

}  // namespace pinion::protocol
