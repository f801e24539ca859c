#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/shard_devices.hpp>
#include <pinion/shard/protocol/messages.hpp>

#include "engine/plan.hpp"

namespace pinion::engine {

/// Divides the map units of a step between the devices of a rank and its workers, by a policy. A
/// unit is one shard.
///
/// Thread safety: none.
class UnitPlacement {
 public:
  UnitPlacement(std::unique_ptr<IShardPolicy> policy, const DeviceKernel& kernel,
                std::size_t device_count, std::size_t worker_count);

  /// The runner that stands for the workers of the host.
  [[nodiscard]] std::size_t host() const noexcept { return device_count_; }

  /// Lets the unit wait at a runner. Precondition: the plan has its shard.
  void place(const protocol::Lease& lease, const StepPlan& plan, Instant now);

  [[nodiscard]] std::optional<protocol::Lease> next(std::size_t runner, Instant now);

  /// Units that wait, and whether more of them should: a few that do not wait for a runner leave
  /// the choice for later, when more is known.
  [[nodiscard]] std::size_t waiting_count() const noexcept { return waiting_.size(); }
  [[nodiscard]] bool takes_more() const noexcept;

  /// A unit that next() gave out has been done in so long, or not at all (zero).
  void ended(const protocol::Lease& lease, Duration time);

  /// Takes those of the leases that wait out.
  void erase(std::span<const protocol::Lease> leases);

  /// The runner takes no more: the units that waited for it.
  [[nodiscard]] std::vector<protocol::Lease> retire(std::size_t runner);

 private:
  const std::unique_ptr<IShardPolicy> policy_;
  const DeviceKernel& kernel_;
  const std::size_t device_count_;
  const std::size_t worker_count_;

  struct Running {
    std::uint64_t ticket = 0;
    std::size_t runner = 0;
  };
  std::map<std::uint64_t, protocol::Lease> waiting_;  // By ticket.
  std::map<protocol::Fence, Running> running_;
};

}  // namespace pinion::engine
