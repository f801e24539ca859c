#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shard/planner.hpp>

#include "engine/delimiter_finder.hpp"

// What the planners that come with the engine are made of.

namespace pinion {

[[nodiscard]] inline std::uint64_t saturating_sum(std::uint64_t left,
                                                  std::uint64_t right) noexcept {
  return right > std::numeric_limits<std::uint64_t>::max() - left
             ? std::numeric_limits<std::uint64_t>::max()
             : left + right;
}

/// How much of the policy's target a shard is.
using Measure = std::uint64_t (*)(const ShardRange&);

[[nodiscard]] inline std::uint64_t size_of(const ShardRange& shard) noexcept {
  return shard.end - shard.begin;
}
[[nodiscard]] inline std::uint64_t weight_of(const ShardRange& shard) noexcept {
  return shard.weight;
}

/// All of them together.
[[nodiscard]] std::uint64_t total_of(const std::vector<ShardRange>& shards,
                                     Measure measure) noexcept;

/// Errors: kInvalidArgument for an alignment that has a flaw, no places, or counts of workers that
///   do not go with the places.
[[nodiscard]] Status check_policy(const PartitionPolicy& policy);

/// Errors: kInvalidArgument, naming what to use instead.
[[nodiscard]] Status require_kind(const InputListing& input, InputKind kind, const char* planner,
                                  const char* instead);

/// Refuses a cut so fine that the list of shards would not fit in memory or in a plan.
[[nodiscard]] Status check_shard_count(std::uint64_t count, std::uint64_t target,
                                       std::uint64_t size);

/// How many pieces of `target` a whole of `size` has.
[[nodiscard]] std::uint64_t pieces_of(std::uint64_t size, std::uint64_t target) noexcept;

/// The policy's target, or the one that by_bytes() chooses.
[[nodiscard]] std::uint64_t byte_target(const PartitionPolicy& policy, std::uint64_t size) noexcept;

/// The policy's target, or the one for a whole of `total`.
[[nodiscard]] std::uint64_t plain_target(const PartitionPolicy& policy,
                                         std::uint64_t total) noexcept;

/// Where the part of each place ends in a whole of `total`: one offset a place, growing.
[[nodiscard]] std::vector<std::uint64_t> part_ends(const PartitionPolicy& policy,
                                                   std::uint64_t total);

/// Gives each shard its place: that of its blob where the policy has it and no other host, else one
/// on the host of its blob, else that of the part in which it begins.
void deal(std::vector<ShardRange>& shards, const InputListing& input, const PartitionPolicy& policy,
          Measure measure);

/// Joins neighbours of one place while they measure no more than `target` together.
void join_neighbours(std::vector<ShardRange>& shards, std::uint64_t target, Measure measure);

/// A file, a blob or a whole stream.
struct WholeSource {
  InputSource source = {};  ///< The first block; its size is that of all.
  std::size_t index = 0;    ///< Among the whole sources.
};
/// In the order of the input, until `visit` answers with an error, which is then the answer.
[[nodiscard]] Status for_each_whole_source(const InputListing& input,
                                           const std::function<Status(const WholeSource&)>& visit);

/// Cuts the sources of an input into shards that keep an alignment.
///
/// Thread safety: none.
/// Lifetime: keeps references to both.
class SourceCutter {
 public:
  SourceCutter(const InputListing& input, const Alignment& alignment)
      : alignment_(alignment), delimiters_(input, alignment.delimiter()) {}

  /// Cuts also at these offsets of the input, which grow.
  void cut_at(std::vector<std::uint64_t> offsets) { fixed_cuts_ = std::move(offsets); }

  /// Appends the shards of one whole source, about `target` bytes each.
  /// Errors: kInvalidArgument for a source that is not whole records; those of reading.
  [[nodiscard]] Status cut(const InputSource& source, std::uint64_t target,
                           std::vector<ShardRange>& shards);

 private:
  [[nodiscard]] Result<std::uint64_t> align(std::uint64_t begin, std::uint64_t cut,
                                            const InputSource& source);

  const Alignment& alignment_;
  DelimiterFinder delimiters_;
  std::vector<std::uint64_t> fixed_cuts_;
};

}  // namespace pinion
