#include <pinion/shard/planner.hpp>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "engine/planner_parts.hpp"

namespace pinion {
namespace {

// Cuts a byte input into shards of about `target` bytes, and at `fixed_cuts`.
Result<std::vector<ShardRange>> cut_bytes(const InputListing& input, const PartitionPolicy& policy,
                                          std::uint64_t target,
                                          std::vector<std::uint64_t> fixed_cuts) {
  std::uint64_t count = fixed_cuts.size();
  PINION_RETURN_IF_ERROR(for_each_whole_source(input, [&](const WholeSource& whole) {
    const bool is_cut = whole.source.compression == Compression::kNone;
    count += is_cut ? pieces_of(whole.source.size_bytes, target) : 1;
    return Status();
  }));
  PINION_RETURN_IF_ERROR(check_shard_count(count, target, input.size()));
  std::vector<ShardRange> shards;
  SourceCutter cutter(input, policy.alignment);
  cutter.cut_at(std::move(fixed_cuts));
  PINION_RETURN_IF_ERROR(for_each_whole_source(
      input, [&](const WholeSource& whole) { return cutter.cut(whole.source, target, shards); }));
  return shards;
}

// A delimiter that overlaps itself could swallow what stands between two sources, so those keep
// shards of their own, and pieces of one source are as large as they should be.
bool keeps_sources_apart(const PartitionPolicy& policy) noexcept {
  return overlaps_itself(policy.alignment.delimiter());
}

enum class FixedCuts : bool { kNone, kAtPlaces };

class BytePlanner final : public IShardPlanner {
 public:
  explicit BytePlanner(FixedCuts cuts) : cuts_(cuts) {}

  Result<std::vector<ShardRange>> partition(const InputListing& input,
                                            const PartitionPolicy& policy) const override {
    PINION_RETURN_IF_ERROR(check_policy(policy));
    const bool at_places = cuts_ == FixedCuts::kAtPlaces;
    PINION_RETURN_IF_ERROR(require_kind(input, InputKind::kBytes,
                                        at_places ? "by_place" : "by_bytes", "by_index_range"));
    Result<std::vector<ShardRange>> shards =
        cut_bytes(input, policy, byte_target(policy, input.size()),
                  at_places ? part_ends(policy, input.size()) : std::vector<std::uint64_t>());
    if (shards) {
      deal(*shards, input, policy, size_of);
    }
    return shards;
  }

  std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                   const PartitionPolicy& policy) const override {
    if (!keeps_sources_apart(policy)) {
      join_neighbours(shards, byte_target(policy, total_of(shards, size_of)), size_of);
    }
    return shards;
  }

 private:
  FixedCuts cuts_;
};

class IndexPlanner final : public IShardPlanner {
 public:
  Result<std::vector<ShardRange>> partition(const InputListing& input,
                                            const PartitionPolicy& policy) const override {
    PINION_RETURN_IF_ERROR(check_policy(policy));
    PINION_RETURN_IF_ERROR(require_kind(input, InputKind::kIndices, "by_index_range", "by_bytes"));
    const std::uint64_t target = plain_target(policy, input.size());
    const std::uint64_t count = pieces_of(input.size(), target);
    PINION_RETURN_IF_ERROR(check_shard_count(count, target, input.size()));
    std::vector<ShardRange> shards;
    shards.reserve(count);
    for (std::uint64_t begin = 0; begin < input.size();) {
      const std::uint64_t cut = target >= input.size() - begin ? input.size() : begin + target;
      shards.push_back({.begin = begin, .end = cut, .weight = cut - begin, .place = {}});
      begin = cut;
    }
    deal(shards, input, policy, size_of);
    return shards;
  }

  std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                   const PartitionPolicy& policy) const override {
    join_neighbours(shards, plain_target(policy, total_of(shards, size_of)), size_of);
    return shards;
  }
};

// A target of 0 keeps each source in a shard of its own.
class FilePlanner final : public IShardPlanner {
 public:
  Result<std::vector<ShardRange>> partition(const InputListing& input,
                                            const PartitionPolicy& policy) const override {
    PINION_RETURN_IF_ERROR(check_policy(policy));
    PINION_RETURN_IF_ERROR(require_kind(input, InputKind::kBytes, "by_file", "by_index_range"));
    Result<std::vector<ShardRange>> shards =
        cut_bytes(input, policy, std::numeric_limits<std::uint64_t>::max(), {});
    if (shards) {
      deal(*shards, input, policy, size_of);
    }
    return shards;
  }

  std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                   const PartitionPolicy& policy) const override {
    if (policy.target_size > 0 && !keeps_sources_apart(policy)) {
      join_neighbours(shards, policy.target_size, size_of);
    }
    return shards;
  }
};

// "by_bytes(16, align_to_line)": what is left out in the program is left out here.
std::string describe(std::string name, std::uint64_t target, const Alignment& alignment) {
  const std::string aligned = alignment.describe();
  name += '(';
  name += target > 0 ? std::to_string(target) : "";
  name += target > 0 && !aligned.empty() ? ", " : "";
  return name + aligned + ')';
}

}  // namespace

Partitioning Partitioning::ordered(std::uint32_t shards_per_batch) const {
  Partitioning same = *this;
  same.is_ordered = true;
  same.batch_shard_count = shards_per_batch;
  same.description += ".ordered(";
  same.description += shards_per_batch > 0 ? std::to_string(shards_per_batch) : "";
  same.description += ')';
  return same;
}

Partitioning Partitioning::within(Duration deadline) const {
  PINION_ASSERT(deadline > Duration::zero());
  Partitioning same = *this;
  same.shard_deadline = deadline;
  same.description += ".within(" + std::to_string(deadline.count()) + " ns)";
  return same;
}

std::uint32_t choose_ordered_batch(std::uint64_t shard_count) noexcept {
  constexpr std::uint64_t kBatchCount = kOrderedWorkerCount * kShardsPerWorker;
  constexpr std::uint64_t kMost = 8;
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(shard_count / kBatchCount, 1, kMost));
}

Partitioning by_bytes(std::uint64_t target_bytes, Alignment alignment) {
  return {.planner = std::make_shared<const BytePlanner>(FixedCuts::kNone),
          .policy = {.target_size = target_bytes, .alignment = alignment},
          .description = describe("by_bytes", target_bytes, alignment)};
}

Partitioning by_bytes(Alignment alignment) {
  return by_bytes(0, alignment);
}

Partitioning by_index_range(std::uint64_t target_count) {
  return {.planner = std::make_shared<const IndexPlanner>(),
          .policy = {.target_size = target_count},
          .description = describe("by_index_range", target_count, {})};
}

Partitioning by_file(std::uint64_t target_bytes, Alignment alignment) {
  return {.planner = std::make_shared<const FilePlanner>(),
          .policy = {.target_size = target_bytes, .alignment = alignment},
          .description = describe("by_file", target_bytes, alignment)};
}

Partitioning by_partition() {
  return {.planner = std::make_shared<const FilePlanner>(), .description = "by_partition()"};
}

Partitioning by_place(std::uint64_t target_bytes, Alignment alignment) {
  return {.planner = std::make_shared<const BytePlanner>(FixedCuts::kAtPlaces),
          .policy = {.target_size = target_bytes, .alignment = alignment},
          .description = describe("by_place", target_bytes, alignment)};
}

}  // namespace pinion
