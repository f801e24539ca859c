#include "protocol/shard_traits.hpp"

#include <algorithm>

namespace pinion::protocol {
namespace {

constexpr std::uint8_t kPriorityBits = 3;
constexpr std::uint8_t kNoCpuBodyBit = 4;

}  // namespace

std::vector<std::uint8_t> pack_traits(const std::vector<ShardEntry>& shards) {
  std::vector<std::uint8_t> traits;
  traits.reserve(shards.size());
  for (const ShardEntry& shard : shards) {
    traits.push_back(static_cast<std::uint8_t>(static_cast<unsigned>(shard.priority) |
                                               (shard.has_cpu_body ? 0U : kNoCpuBodyBit)));
  }
  if (std::all_of(traits.begin(), traits.end(), [](std::uint8_t bits) { return bits == 0; })) {
    traits.clear();
  }
  return traits;
}

const char* unpack_traits(std::span<const std::uint8_t> traits, std::vector<ShardEntry>& shards) {
  if (traits.size() != shards.size()) {
    return "traits of another count than the shards";
  }
  for (std::size_t id = 0; id < shards.size(); ++id) {
    const auto priority = static_cast<std::uint8_t>(traits[id] & kPriorityBits);
    if (priority > static_cast<std::uint8_t>(Priority::kLow)) {
      return "a priority that does not exist";
    }
    shards[id].priority = static_cast<Priority>(priority);
    shards[id].has_cpu_body = (traits[id] & kNoCpuBodyBit) == 0;
  }
  return nullptr;
}

}  // namespace pinion::protocol
