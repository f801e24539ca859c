// A planner of one's own: shards that halve, large ones first, so that the last to finish has
// little to do. A planner covers the input once, in order, without gaps, and is the same on every
// rank.
//
//   pinion run -n 2 07_custom_planner

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include <pinion/pinion.hpp>

namespace {

class HalvingPlanner final : public pinion::IShardPlanner {
 public:
  // Half of what is left each time, but at least the target.
  pinion::Result<std::vector<pinion::ShardRange>> partition(
      const pinion::InputListing& input, const pinion::PartitionPolicy& policy) const override {
    std::vector<pinion::ShardRange> shards;
    for (std::uint64_t begin = 0; begin < input.size();) {
      const std::uint64_t left = input.size() - begin;
      const std::uint64_t size = std::min(left, std::max(left / 2, policy.target_size));
      const pinion::Place place = policy.places[shards.size() % policy.places.size()];
      shards.push_back({.begin = begin, .end = begin + size, .weight = size, .place = place});
      begin += size;
    }
    return shards;
  }

  // Nothing is to be joined: the small ones are small on purpose.
  std::vector<pinion::ShardRange> coalesce(std::vector<pinion::ShardRange> shards,
                                           const pinion::PartitionPolicy&) const override {
    return shards;
  }
};

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  const pinion::Partitioning halving = {.planner = std::make_shared<HalvingPlanner>(),
                                        .policy = {.target_size = 50},
                                        .description = "halving down to 50"};
  const auto sizes = pinion::map_reduce(
      job, pinion::indices(1000), halving,
      [](const pinion::Shard& shard, auto& emit) { emit(shard.end() - shard.begin()); },
      pinion::collect<std::uint64_t>());
  const pinion::Status printed = job->once([&] {
    for (const std::uint64_t size : *sizes) std::printf("a shard of %" PRIu64 "\n", size);
  });
  return pinion::report(printed);
}
