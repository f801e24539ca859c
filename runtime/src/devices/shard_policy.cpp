#include "devices/shard_policy.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion {
namespace {

// Shards of one step have one kernel.
constexpr const char* kKernel = "kernel";

PolicyShard to_policy(const PlacedShard& shard) {
  return {.kernel = kKernel,
          .input_bytes = shard.input_bytes,
          .other_bytes = shard.other_bytes,
          .home = shard.home,
          .can_be_split = shard.can_be_cut};
}

}  // namespace

ShardPolicy::ShardPolicy(std::vector<PolicyDevice> devices)
    : devices_(std::move(devices)),
      // One by one: small shards come together where they wait for their device.
      policy_(devices_, {.batch_bytes = 1, .batch_count_max = 1}) {
  PINION_ASSERT(!devices_.empty() && devices_.back().memory_bytes == 0);
}

std::uint64_t ShardPolicy::place(const PlacedShard& shard, Instant now) {
  PolicyShard asked = to_policy(shard);
  PolicyChoice choice = policy_.place(std::span(&asked, 1), now).front();
  if (choice.verdict != PolicyVerdict::kSplit) {
    // The host takes what nobody else does.
    PINION_ASSERT(choice.verdict == PolicyVerdict::kRun);
    return choice.ticket;
  }
  // As a piece that fits. What it takes is a part of what the shard takes.
  const auto whole = static_cast<double>(asked.input_bytes + asked.other_bytes);
  const double part = static_cast<double>(largest_memory()) / 2 / whole;
  asked.input_bytes = static_cast<std::uint64_t>(static_cast<double>(asked.input_bytes) * part);
  asked.other_bytes = static_cast<std::uint64_t>(static_cast<double>(asked.other_bytes) * part);
  choice = policy_.place(std::span(&asked, 1), now).front();
  PINION_ASSERT(choice.verdict == PolicyVerdict::kRun);
  pieces_.emplace(choice.ticket, part);
  return choice.ticket;
}

std::uint64_t ShardPolicy::largest_memory() const {
  std::uint64_t most = 0;
  for (const PolicyDevice& device : devices_) {
    most = std::max(most, device.memory_bytes);
  }
  return most;
}

std::optional<std::uint64_t> ShardPolicy::next(std::size_t runner, Instant now) {
  const std::vector<std::uint64_t> tickets = policy_.next(runner, now);
  PINION_ASSERT(tickets.size() <= 1);
  return tickets.empty() ? std::nullopt : std::optional(tickets.front());
}

void ShardPolicy::ended(std::uint64_t ticket, Duration time) {
  if (const auto piece = pieces_.extract(ticket); !piece.empty()) {
    time = Duration(static_cast<Duration::rep>(static_cast<double>(time.count()) * piece.mapped()));
  }
  policy_.ended(ticket, time);
}

void ShardPolicy::dropped(std::uint64_t ticket) {
  pieces_.erase(ticket);
  policy_.dropped(ticket);
}

std::vector<std::uint64_t> ShardPolicy::retire(std::size_t runner) {
  devices_[runner].memory_bytes = 0;
  return policy_.retire(runner);
}

}  // namespace pinion
