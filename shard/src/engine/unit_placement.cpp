#include "engine/unit_placement.hpp"

#include <algorithm>
#include <utility>

namespace pinion::engine {
namespace {

// Units that wait for each runner at most: enough that a device which is as much quicker than the
// workers is busy while they do one.
constexpr std::size_t kWaitingEach = 64;

}  // namespace

UnitPlacement::UnitPlacement(std::unique_ptr<IShardPolicy> policy, const DeviceKernel& kernel,
                             std::size_t device_count, std::size_t worker_count)
    : policy_(std::move(policy)),
      kernel_(kernel),
      device_count_(device_count),
      worker_count_(worker_count) {}

bool UnitPlacement::takes_more() const noexcept {
  return waiting_.size() < kWaitingEach * (device_count_ + 1);
}

void UnitPlacement::place(const protocol::Lease& lease, const StepPlan& plan, Instant now) {
  const ShardRange& range = plan.shards[lease.unit];
  const std::uint64_t input_bytes = range.end - range.begin;
  const KernelSizes sizes = kernel_.sizes(input_bytes);
  const std::uint64_t ticket =
      policy_->place({.input_bytes = input_bytes,
                      .other_bytes = sizes.output_bytes + sizes.scratch_bytes,
                      .home = range.place,
                      .can_be_cut = kernel_.cut_bytes > 0},
                     now);
  waiting_.emplace(ticket, lease);
}

std::optional<protocol::Lease> UnitPlacement::next(std::size_t runner, Instant now) {
  while (const std::optional<std::uint64_t> ticket = policy_->next(runner, now)) {
    const auto found = waiting_.extract(*ticket);
    if (!found.empty()) {
      running_.emplace(found.mapped().fence, Running{.ticket = *ticket, .runner = runner});
      return found.mapped();
    }
    policy_->dropped(*ticket);  // Erased while it waited.
  }
  return std::nullopt;
}

void UnitPlacement::ended(const protocol::Lease& lease, Duration time) {
  const auto found = running_.extract(lease.fence);
  if (found.empty()) {
    return;
  }
  const Running& running = found.mapped();
  if (time <= Duration::zero()) {
    policy_->dropped(running.ticket);
    return;
  }
  // Its workers do as many at once, so that together they take so much less for one.
  const auto together = static_cast<Duration::rep>(running.runner == host() ? worker_count_ : 1);
  policy_->ended(running.ticket, std::max(time / together, Duration(1)));
}

void UnitPlacement::erase(std::span<const protocol::Lease> leases) {
  std::erase_if(waiting_, [leases](const auto& entry) {
    return std::any_of(leases.begin(), leases.end(), [&](const protocol::Lease& lease) {
      return lease.fence == entry.second.fence;
    });
  });
}

std::vector<protocol::Lease> UnitPlacement::retire(std::size_t runner) {
  std::vector<protocol::Lease> leases;
  for (const std::uint64_t ticket : policy_->retire(runner)) {
    if (const auto found = waiting_.extract(ticket); !found.empty()) {
      leases.push_back(found.mapped());
    }
  }
  return leases;
}

}  // namespace pinion::engine
