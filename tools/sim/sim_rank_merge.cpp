// What a simulated rank makes of the inputs of a batch.

#include <algorithm>
#include <utility>

#include "sim/sim_rank.hpp"
#include "sim/sim_world.hpp"

namespace pinion::sim {

using protocol::Lease;
using protocol::Stage;

BlobHandle SimRank::make_output(Stage stage, const std::vector<Lease>& batch) {
  if (stage == Stage::kMap) {
    BlobContent content{.kind = BlobKind::kPartial, .step = step_, .shards = shards_of(batch)};
    if (!shape_->map_units().ordered()) {
      for (const std::uint64_t shard : content.shards) {
        content.sum += shape_->value_of(shard);
      }
    }
    return world_.store().create(std::move(content), host(), world_.epoch());
  }
  std::optional<BlobContent> result = merge(stage, batch.front().unit);
  return result ? world_.store().create(std::move(*result), host(), world_.epoch()) : BlobHandle{};
}

const BlobContent* SimRank::find_mapped(const BlobHandle& blob) {
  if (!has_mapped_ || !world_.store().lost(blob)) {
    return nullptr;
  }
  world_.reached("partials of a lost host were read, as they were mapped");
  return &world_.store().content_of(blob);
}

std::span<const BlobHandle> SimRank::inputs_of(std::uint64_t partition) {
  if (inputs_.combined.empty()) {
    return inputs_.partials;
  }
  in_place_ = inputs_.partials;
  for (const protocol::CombinedPartials& one : inputs_.combined) {
    const BlobHandle& output = one.outputs.at(partition);
    if (output == BlobHandle{}) {
      continue;
    }
    for (const std::uint32_t member : one.members) {
      in_place_[member] = BlobHandle{};
    }
    in_place_[one.members.front()] = output;
  }
  std::erase(in_place_, BlobHandle{});
  return in_place_;
}

std::optional<BlobContent> SimRank::merge(Stage stage, std::uint64_t unit) {
  constexpr std::size_t kAhead = 8;
  Store& store = world_.store();
  const bool ordered = shape_->map_units().ordered();
  const bool combines = stage == Stage::kCombine;
  const std::uint64_t partition = unit % shape_->partition_count;
  const std::span<const BlobHandle> inputs = inputs_of(partition);
  BlobContent merged{.kind = combines ? BlobKind::kCombined : BlobKind::kResult,
                     .partition = static_cast<std::uint32_t>(partition),
                     .step = step_};
  // What merges need may be here before the grant that ends what is combined here; nothing comes of
  // that any more.
  const protocol::Progress decided = world_.progress();
  const bool counts = decided.step == step_ && decided.stage == Stage::kCombine;
  std::size_t here_count = 0;
  bool is_combined_again = false;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    store.make_ready(inputs[std::min(i + kAhead, inputs.size() - 1)]);
    const BlobContent* input = store.find_readable(inputs[i]);
    input = input == nullptr ? find_mapped(inputs[i]) : input;
    if (input == nullptr) {
      return std::nullopt;
    }
    if (combines) {
      const bool is_here = store.host_of(inputs[i]) == host();
      here_count += is_here ? 1 : 0;
      is_combined_again = is_combined_again || (!is_here && input->kind == BlobKind::kCombined);
      merged.shards.insert(merged.shards.end(), input->shards.begin(), input->shards.end());
    }
    if (input->kind == BlobKind::kCombined) {
      world_.reached("a combined partition was merged");
      world_.expect(input->partition == partition, "another partition is merged as this one");
      merged.sum = shape_->join(merged.sum, input->sum);
      continue;
    }
    std::uint64_t of_batch = StepShape::in_partition(input->sum, partition);
    if (ordered) {
      for (const std::uint64_t shard : input->shards) {
        of_batch =
            shape_->join(of_batch, StepShape::in_partition(shape_->value_of(shard), partition));
      }
    }
    merged.sum = shape_->join(merged.sum, input->damaged ? ~of_batch : of_batch);
  }
  const std::uint64_t shard_count = shape_->shard_bytes.size();
  const std::optional<std::uint64_t> count = store.count_shards(inputs, shard_count);
  merged.whole = combines ? count.has_value() : count == shard_count - shape_->left_out_count();
  world_.expect(!combines || !counts || here_count > 0 || inputs.empty(),
                "nothing of what a host is to combine lies there");
  world_.reached("partials were combined on their host", combines && here_count == inputs.size());
  world_.reached("hosts combined what others had combined", is_combined_again);
  return merged;
}

}  // namespace pinion::sim
