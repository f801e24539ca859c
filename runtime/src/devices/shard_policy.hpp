#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <pinion/core/shard_devices.hpp>
#include <pinion/gpu/device_policy.hpp>

namespace pinion {

/// DevicePolicy for the shards of one step. The last of its devices is the host.
///
/// Thread safety: none.
class ShardPolicy final : public IShardPolicy {
 public:
  explicit ShardPolicy(std::vector<PolicyDevice> devices);

  [[nodiscard]] std::uint64_t place(const PlacedShard& shard, Instant now) override;
  [[nodiscard]] std::optional<std::uint64_t> next(std::size_t runner, Instant now) override;
  void ended(std::uint64_t ticket, Duration time) override;
  void dropped(std::uint64_t ticket) override;
  [[nodiscard]] std::vector<std::uint64_t> retire(std::size_t runner) override;

 private:
  [[nodiscard]] std::uint64_t largest_memory() const;

  std::vector<PolicyDevice> devices_;
  DevicePolicy policy_;

  // Of shards that are placed as one piece of them: the part of the shard that a piece is.
  std::map<std::uint64_t, double> pieces_;
};

}  // namespace pinion
