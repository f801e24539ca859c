#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/cancel.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/device.hpp>
#include <pinion/core/executor.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// What a kernel writes and needs beside its input.
struct KernelSizes {
  std::uint64_t output_bytes = 0;
  std::uint64_t scratch_bytes = 0;
};

/// A kernel over the bytes of a shard. It is launched with three buffers: the input, the output and
/// the scratch memory, in this order. It reads the first, fills the second, and may use the third.
struct DeviceKernel {
  std::string name = {};
  std::vector<std::byte> arguments = {};

  /// The sizes for an input of so many bytes. A pure function.
  std::function<KernelSizes(std::uint64_t input_bytes)> sizes = {};

  /// A shard that fits no device whole is computed in pieces, which begin at multiples of so many
  /// bytes of it; 0: it cannot be cut.
  std::uint64_t cut_bytes = 0;

  /// Small shards may be given to it several in one launch: it gets three buffers for each, one
  /// shard after the other, and fills all outputs. The scratch memory is the same for all of them,
  /// that of the largest.
  bool takes_batches = false;
};

/// What a kernel has made of a shard, or of a piece of one.
struct DevicePiece {
  std::uint64_t offset = 0;  ///< Of the input in the shard.
  std::span<const std::byte> input = {};
  std::span<const std::byte> output = {};
};

/// Says in words to people which shards these are, and where in the input the first of them lies.
/// Called from any thread.
using DescribeShards = std::function<std::string(std::span<const std::uint64_t> shards)>;

/// A shard on its way through a device.
struct DeviceTask {
  const DeviceKernel* kernel = nullptr;   ///< Lifetime: until on_done is called.
  std::uint64_t shard = 0;                ///< Its number, for words and traces.
  std::span<const std::byte> input = {};  ///< Lifetime: as the kernel's.

  /// For this shard and those that the device has beside it. May be null. Lifetime: as the
  /// kernel's.
  const DescribeShards* describe = nullptr;

  /// Once it is cancelled, nothing of the task begins on the device any more. Unless all of it has
  /// begun it ends with kCancelled, when the device has done with what it has.
  CancelToken cancel = {};

  /// Called for each piece, one at a time. Lifetime of the bytes: that of the call.
  std::function<void(const DevicePiece&)> on_piece = {};

  /// Called once, last. After an error nothing counts of what on_piece was given. An error with
  /// ends_device() is that of the device, and another runner may do the shard.
  std::function<void(const Status&)> on_done = {};
};

/// What a policy has to know of a shard.
struct PlacedShard {
  std::uint64_t input_bytes = 0;
  std::uint64_t other_bytes = 0;  ///< On a device, beside the input.
  Place home = {};
  bool can_be_cut = false;
};

/// Decides which runner takes which shard of a step. Runners are the devices, by their numbers,
/// and then the workers of the host together, as one more.
///
/// Thread safety: none.
class IShardPolicy {
 public:
  virtual ~IShardPolicy() = default;

  /// Lets the shard wait at a runner. The answer is its name from here on.
  [[nodiscard]] virtual std::uint64_t place(const PlacedShard& shard, Instant now) = 0;

  /// A shard that the runner is to run now; empty when it does better to wait.
  [[nodiscard]] virtual std::optional<std::uint64_t> next(std::size_t runner, Instant now) = 0;

  /// A shard that next() gave out was done, and kept its runner busy for so long.
  virtual void ended(std::uint64_t ticket, Duration time) = 0;

  /// A shard that next() gave out was not done there.
  virtual void dropped(std::uint64_t ticket) = 0;

  /// The runner takes no more. The shards that waited there are to be placed again.
  [[nodiscard]] virtual std::vector<std::uint64_t> retire(std::size_t runner) = 0;
};

/// The most that goes to a device in one launch where a kernel takes batches.
struct DeviceBatch {
  std::uint64_t bytes_max = 0;  ///< Of input and output; one shard may have more.
  std::size_t count_max = 1;
};

/// The devices of a rank, as the engine sees them. Extension point: the runtime has the one that
/// programs get.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: outlives all tasks.
class IShardDevices {
 public:
  virtual ~IShardDevices() = default;

  /// At least one, each with info() that stays as it is.
  [[nodiscard]] virtual std::span<IDevice* const> devices() const noexcept = 0;

  /// One worker for each device, at its place, which does nothing else.
  [[nodiscard]] virtual Executor& feeders() noexcept = 0;

  /// Launches that keep a device busy when it has the shards of so many at once.
  [[nodiscard]] virtual std::size_t depth() const noexcept = 0;

  /// The shards of a launch, where the kernel takes batches.
  [[nodiscard]] virtual DeviceBatch batch() const noexcept = 0;

  /// The row of the trace that the worker which feeds the device writes.
  [[nodiscard]] virtual std::size_t trace_row(std::size_t device) const noexcept = 0;

  /// For one step over shards of one kernel. Lifetime: borrows the devices.
  [[nodiscard]] virtual std::unique_ptr<IShardPolicy> make_policy() = 0;

  /// Begins a task; its outcome may come before this returns.
  /// Errors: those of the device's queue; on_done is then never called.
  [[nodiscard]] virtual Status submit(std::size_t device, DeviceTask task) = 0;

  /// The device does nothing any more, as `error` says; the first one counts. Returns where this
  /// process goes on without it; a rank that is to be started again ends here.
  virtual void lose(std::size_t device, const Status& error) = 0;
};

}  // namespace pinion
