#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/place.hpp>

namespace pinion {

/// What shards run on: a device, or the CPU workers of a host as one more.
struct PolicyDevice {
  std::string name = {};  ///< For words to people.

  /// Of a device; a shard that needs more cannot run there. 0: the host, where everything fits.
  std::uint64_t memory_bytes = 0;
  Place near_memory = {};
};

/// A shard as the policy sees it.
struct PolicyShard {
  std::string kernel = {};  ///< Shards of one kernel take times in the ratio of their bytes.
  std::uint64_t input_bytes = 0;
  std::uint64_t other_bytes = 0;  ///< Output and scratch memory, on the device too.
  Place home = {};                ///< Where its input lies.
  bool can_be_split = false;
};

enum class PolicyVerdict : std::uint8_t { kRun, kSplit, kRefused };

/// What is to become of a shard.
struct PolicyChoice {
  PolicyVerdict verdict = PolicyVerdict::kRun;
  std::size_t device = 0;    ///< Where it waits, when it is to run.
  std::uint64_t ticket = 0;  ///< Its name from here on, when it is to run.
  std::string reason = {};   ///< Why it is split or refused.
};

struct PolicyOptions {
  /// Shards of one kernel that are small are given out together, up to so many bytes of input and
  /// so many shards.
  std::uint64_t batch_bytes = 1 << 20;
  std::size_t batch_count_max = 64;
};

/// Decides which device runs which shard. It has no clock and does nothing: it is told what time it
/// is and what took how long. A shard that fits no device is split, else runs on the host, else is
/// refused. Others go to where they end first by the rates that were measured, to a near device
/// where two are equal. A kernel that a device has not run yet is tried there with one shard.
/// Shards that are placed together are balanced together.
///
///     DevicePolicy policy(devices, {});
///     policy.place(shards, now);                  // Each waits at a device.
///     for (ticket : policy.next(device, now)) ... // When the device is idle.
///     policy.ended(ticket, time);                 // Measures, and makes room.
///
/// Thread safety: none.
class DevicePolicy {
 public:
  DevicePolicy(std::vector<PolicyDevice> devices, PolicyOptions options);

  /// In the order of the shards.
  [[nodiscard]] std::vector<PolicyChoice> place(std::span<const PolicyShard> shards, Instant now);

  /// What a device is to run next, by tickets: the first that waits there with those like it, or
  /// the last of another device's if it ends sooner here. Empty when there is nothing for it.
  [[nodiscard]] std::vector<std::uint64_t> next(std::size_t device, Instant now);

  /// A shard that next() gave out has ended well, and took so long.
  void ended(std::uint64_t ticket, Duration time);

  /// A shard that next() gave out has not been done; it is placed again by place().
  void dropped(std::uint64_t ticket);

  /// The device runs nothing any more. The tickets that waited there are void: their shards are
  /// placed again by place(). Those that it was given end as always.
  [[nodiscard]] std::vector<std::uint64_t> retire(std::size_t device);

  /// What the shard would take there, as far as it is known.
  [[nodiscard]] std::optional<Duration> expected(std::size_t device,
                                                 const PolicyShard& shard) const;

  [[nodiscard]] std::uint64_t steal_count() const noexcept { return steal_count_; }

 private:
  struct Ticket {
    std::uint64_t number = 0;
    PolicyShard shard = {};
    double time = 0.0;  ///< What it is thought to take, in nanoseconds.
  };
  struct Queue {
    std::deque<Ticket> waiting = {};
    std::map<std::uint64_t, PolicyShard> running = {};
    Instant busy_until = {};  ///< When what runs is thought to end.
    bool retired = false;

    [[nodiscard]] double backlog(Instant now) const;
  };
  // (kernel, device, whether it is near the input).
  struct RateKey {
    std::string kernel = {};
    std::size_t device = 0;
    bool near = false;

    friend auto operator<=>(const RateKey&, const RateKey&) = default;
  };

  [[nodiscard]] bool near(std::size_t device, const PolicyShard& shard) const;
  [[nodiscard]] bool fits(std::size_t device, const PolicyShard& shard) const;
  [[nodiscard]] std::optional<double> rate(std::size_t device, const PolicyShard& shard) const;
  [[nodiscard]] double time_of(std::size_t device, const PolicyShard& shard) const;
  [[nodiscard]] bool is_being_tried(std::size_t device, const std::string& kernel) const;
  [[nodiscard]] std::optional<std::size_t> untried(const PolicyShard& shard) const;
  [[nodiscard]] std::optional<PolicyChoice> misfit(const PolicyShard& shard) const;
  void put(std::size_t device, PolicyChoice& choice, const PolicyShard& shard);
  [[nodiscard]] bool steal(std::size_t device, Instant now);
  [[nodiscard]] std::size_t queue_of(std::uint64_t ticket) const;

  const std::vector<PolicyDevice> devices_;
  const PolicyOptions options_;
  std::vector<Queue> queues_;
  std::map<RateKey, double> rates_;  // Nanoseconds for a byte of input.
  std::uint64_t last_ticket_ = 0;
  std::uint64_t steal_count_ = 0;
};

}  // namespace pinion
