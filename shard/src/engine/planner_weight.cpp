#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <pinion/shard/key_hash.hpp>
#include <pinion/shard/planner.hpp>

#include "engine/planner_parts.hpp"

namespace pinion {
namespace {

// value * part / whole, where part <= whole.
std::uint64_t share_of(std::uint64_t value, std::uint64_t part, std::uint64_t whole) noexcept {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(static_cast<Wide>(value) * part / whole);
}

// Cuts by what sources or indices weigh; the two differ in who is asked, and about what.
class WeightPlanner final : public IShardPlanner {
 public:
  // The weight of whole source `index`, or of an index.
  using Weigh = std::function<std::uint64_t(const InputSource&, std::uint64_t index)>;

  struct Options {
    bool takes_sources = true;
    bool takes_indices = true;
    std::optional<std::uint64_t> weight_count = std::nullopt;
  };

  WeightPlanner(Weigh weigh, const Options& options)
      : weigh_(std::move(weigh)), options_(options) {}

  Result<std::vector<ShardRange>> partition(const InputListing& input,
                                            const PartitionPolicy& policy) const override {
    PINION_RETURN_IF_ERROR(check_policy(policy));
    if (!options_.takes_indices) {
      PINION_RETURN_IF_ERROR(require_kind(input, InputKind::kBytes,
                                          "by_weight with a function of a source",
                                          "a function of an index"));
    }
    if (!options_.takes_sources) {
      PINION_RETURN_IF_ERROR(require_kind(input, InputKind::kIndices,
                                          "by_weight with a function of an index",
                                          "a function of a source"));
    }
    Result<std::vector<ShardRange>> shards =
        input.kind() == InputKind::kBytes ? cut_sources(input, policy) : cut_indices(input, policy);
    if (shards) {
      deal(*shards, input, policy, weight_of);
    }
    return shards;
  }

  std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                   const PartitionPolicy& policy) const override {
    if (!overlaps_itself(policy.alignment.delimiter())) {
      join_neighbours(shards, plain_target(policy, total_of(shards, weight_of)), weight_of);
    }
    return shards;
  }

 private:
  // Whatever weighs nothing must not pile up without end in one shard.
  std::uint64_t weight(const InputSource& source, std::uint64_t index) const {
    return std::max<std::uint64_t>(1, weigh_(source, index));
  }

  Status check_count(std::uint64_t count, const char* things) const {
    if (!options_.weight_count || *options_.weight_count == count) {
      return {};
    }
    return {ErrorCode::kInvalidArgument, "by_weight has " + std::to_string(*options_.weight_count) +
                                             " weights for " + std::to_string(count) + " " +
                                             things};
  }

  Result<std::vector<ShardRange>> cut_sources(const InputListing& input,
                                              const PartitionPolicy& policy) const {
    std::vector<std::uint64_t> weights;
    std::uint64_t total = 0;
    std::uint64_t source_count = 0;
    PINION_RETURN_IF_ERROR(for_each_whole_source(input, [&](const WholeSource&) {
      ++source_count;
      return Status();
    }));
    PINION_RETURN_IF_ERROR(check_count(source_count, "sources that are not empty"));
    PINION_RETURN_IF_ERROR(for_each_whole_source(input, [&](const WholeSource& whole) {
      weights.push_back(weight(whole.source, whole.index));
      total = saturating_sum(total, weights.back());
      return Status();
    }));
    const std::uint64_t target = plain_target(policy, total);
    std::uint64_t count = 0;
    PINION_RETURN_IF_ERROR(for_each_whole_source(input, [&](const WholeSource& whole) {
      count += std::min(pieces_of(weights[whole.index], target), whole.source.size_bytes);
      return Status();
    }));
    PINION_RETURN_IF_ERROR(check_shard_count(count, target, total));
    std::vector<ShardRange> shards;
    SourceCutter cutter(input, policy.alignment);
    PINION_RETURN_IF_ERROR(for_each_whole_source(input, [&](const WholeSource& whole) {
      return cut_source(whole, weights[whole.index], target, cutter, shards);
    }));
    return shards;
  }

  static Status cut_source(const WholeSource& whole, std::uint64_t source_weight,
                           std::uint64_t target, SourceCutter& cutter,
                           std::vector<ShardRange>& shards) {
    const InputSource& source = whole.source;
    const std::size_t first = shards.size();
    const std::uint64_t pieces = std::max<std::uint64_t>(1, pieces_of(source_weight, target));
    PINION_RETURN_IF_ERROR(cutter.cut(source, pieces_of(source.size_bytes, pieces), shards));
    for (std::size_t id = first; id < shards.size(); ++id) {
      ShardRange& shard = shards[id];
      shard.weight = share_of(source_weight, shard.end - source.begin, source.size_bytes) -
                     share_of(source_weight, shard.begin - source.begin, source.size_bytes);
    }
    return {};
  }

  Result<std::vector<ShardRange>> cut_indices(const InputListing& input,
                                              const PartitionPolicy& policy) const {
    if (policy.alignment != Alignment()) {
      return Status(ErrorCode::kInvalidArgument,
                    "by_weight is asked for " + policy.alignment.describe() +
                        ", and a range of indices has no bytes; leave the alignment out");
    }
    PINION_RETURN_IF_ERROR(check_count(input.size(), "indices"));
    const InputSource none;
    std::uint64_t total = 0;
    for (std::uint64_t index = 0; policy.target_size == 0 && index < input.size(); ++index) {
      total = saturating_sum(total, weight(none, index));
    }
    const std::uint64_t target = plain_target(policy, total);
    std::vector<ShardRange> shards;
    ShardRange shard;
    for (std::uint64_t index = 0; index < input.size(); ++index) {
      const std::uint64_t more = weight(none, index);
      if (shard.end > shard.begin && saturating_sum(shard.weight, more) > target) {
        PINION_RETURN_IF_ERROR(check_shard_count(shards.size() + 2, target, input.size()));
        shards.push_back(std::exchange(shard, {.begin = index, .end = index}));
      }
      shard.weight = saturating_sum(shard.weight, more);
      shard.end = index + 1;
    }
    if (shard.end > shard.begin) {
      shards.push_back(shard);
    }
    return shards;
  }

  Weigh weigh_;
  Options options_;
};

// A function has no name that all ranks share; where the step stands in the source tells them
// apart.
Partitioning make(WeightPlanner::Weigh weigh, const WeightPlanner::Options& options,
                  std::string what, const PartitionPolicy& policy) {
  std::string words = "by_weight(" + std::move(what);
  if (policy.target_size > 0) {
    words += ", " + std::to_string(policy.target_size);
  }
  if (const std::string aligned = policy.alignment.describe(); !aligned.empty()) {
    words += ", " + aligned;
  }
  return {.planner = std::make_shared<const WeightPlanner>(std::move(weigh), options),
          .policy = policy,
          .description = words + ")"};
}

}  // namespace

Partitioning by_weight(SourceWeight weigh, std::uint64_t target_weight, Alignment alignment) {
  return make([weigh = std::move(weigh)](const InputSource& source,
                                         std::uint64_t) { return weigh(source); },
              {.takes_indices = false}, "function of a source",
              {.target_size = target_weight, .alignment = alignment});
}

Partitioning by_weight(IndexWeight weigh, std::uint64_t target_weight) {
  return make(
      [weigh = std::move(weigh)](const InputSource&, std::uint64_t index) { return weigh(index); },
      {.takes_sources = false}, "function of an index", {.target_size = target_weight});
}

Partitioning by_weight(std::vector<std::uint64_t> weights, std::uint64_t target_weight,
                       Alignment alignment) {
  const std::uint64_t count = weights.size();
  const std::uint64_t digest = hash_bytes(std::as_bytes(std::span(weights)));
  return make([weights = std::move(weights)](const InputSource&,
                                             std::uint64_t index) { return weights[index]; },
              {.weight_count = count},
              std::to_string(count) + " weights of digest " + std::to_string(digest),
              {.target_size = target_weight, .alignment = alignment});
}

}  // namespace pinion
