#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/blob.hpp>

namespace pinion::protocol {

/// Partials that are combined, partition by partition: those of a host, or what two groups of
/// hosts have combined theirs into.
struct CombinedGroup {
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  std::vector<std::uint32_t> hosts = {};       ///< Ascending.
  std::uint32_t level = 0;                     ///< 0: a host.
  std::array<std::uint32_t, 2> children = {};  ///< Places among the groups; not of a host.
  std::uint32_t parent = kNone;                ///< Place of the group that it is part of.
  bool is_left = false;                        ///< It is not worth its units, or cannot be done.
  std::uint64_t member_bytes = 0;
  std::vector<BlobHandle> outputs = {};  ///< Index = partition; null: not combined.
  std::uint64_t output_count = 0;
  std::uint64_t output_bytes = 0;
  bool is_known_to_fail = false;  ///< Then what it is part of would, too.

  /// Whose partials they are: "host 1", "4 hosts from 0 to 3".
  [[nodiscard]] std::string in_words() const;
};

/// What is known of the partials that a host has.
struct PartialsOfHost {
  std::uint32_t host = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t largest_bytes = 0;
  std::uint64_t count = 0;
};

struct CombineTerms {
  std::uint32_t partition_count = 0;
  std::uint32_t host_count = 0;  ///< That can merge.
  std::uint64_t bytes_min = 0;   ///< What is spared must come to so much.
  std::uint64_t unit_count_max =
      std::numeric_limits<std::uint64_t>::max();  ///< Group by partition.
};

/// Which groups are worth combining, level by level; none where nothing is. Children come before
/// their parents.
///
/// A host is, where all of its partials but the largest come to `bytes_min`. Pairs of hosts, and
/// pairs of these, are while the host to which most has to come gets less by at least `bytes_min`:
/// without another level the owner of a partition gets it from every group but one, with one the
/// members of a pair get half of the partitions each from the other, all at once. So a tree is for
/// steps of fewer partitions than hosts. Where there is one, each host has a group, as these are
/// its leaves.
///
/// Takes for the size of what a host combines that of its largest partial: equal keys make it
/// smaller than its members, and nobody knows before by how much.
[[nodiscard]] std::vector<CombinedGroup> choose_groups(std::span<const PartialsOfHost> hosts,
                                                       const CombineTerms& terms);

/// The host that combines a partition of the group: one that has part of it there already, and
/// another for other partitions.
[[nodiscard]] std::uint32_t host_for(std::span<const CombinedGroup> groups,
                                     const CombinedGroup& group, std::uint32_t partition);

}  // namespace pinion::protocol
