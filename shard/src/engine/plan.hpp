#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/blob_store.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/input.hpp>
#include <pinion/shard/planner.hpp>

namespace pinion {

/// What the ranks of a step need to run its shards, made by one of them.
struct StepPlan {
  InputListing listing = {};
  std::vector<ShardRange> shards = {};  ///< Index = shard id.
  std::uint32_t partition_count = 1;    ///< 0: map only.
  Alignment alignment = {};             ///< Where the shards end: what stands between sources.
};

/// Why the plan cannot be run, in words: sources or shards with gaps, beyond the input, empty, too
/// many, a compressed source or a partition that is cut, partitions that share a shard, an
/// alignment that is none. Empty when nothing is wrong. For plans of user planners and for those
/// that decode() reads.
[[nodiscard]] std::string find_flaw(const StepPlan& plan);

/// The FlatBuffers form of a plan (shard/schema/plan.fbs).
/// Precondition: find_flaw() has nothing to say.
[[nodiscard]] std::vector<std::byte> encode(const StepPlan& plan);

/// Verifies and translates, and opens the blobs that sources lie in, but for partitions; never
/// reads outside `bytes`, whatever they hold. Borrows the store. Blocks: as IBlobStore::open.
/// Errors: kDataLoss for bytes that are not a plan without a flaw; those of the store.
[[nodiscard]] Result<StepPlan> decode(std::span<const std::byte> bytes, IBlobStore& store);

/// A shard and its range of the input, for words to people: "shard 7 (bytes 0-16777216 of a.txt)",
/// "shard 8 (bytes 512 of a.txt to 90 of c.txt)", "shard 9 (indices 0-1000)". Offsets count within
/// the file.
[[nodiscard]] std::string describe_shard(const StepPlan& plan, std::uint64_t id);

/// The first of them so, and how many more there are: "shard 7 (bytes 0-90 of a.txt) and 2 more".
/// Precondition: at least one.
[[nodiscard]] std::string describe_shards(const StepPlan& plan, std::span<const std::uint64_t> ids);

}  // namespace pinion
