#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// What a kernel is called with.
struct KernelCall {
  std::span<const std::byte> arguments = {};
  std::span<const std::span<std::byte>> buffers = {};  ///< In the order of the launch.
};

/// The CPU twin of a kernel: does the same to the same buffers. It must be re-entrant and must not
/// call a device. An error of it on an emulated device is a sticky fault, as a kernel has no other
/// way to fail, but kDeadlineExceeded, with which it hangs there; where the twin runs in place of
/// the kernel, it is the error of the work.
using KernelBody = std::function<Status(const KernelCall&)>;

/// How long an emulated device takes for a kernel.
struct KernelCost {
  Duration launch = {};                ///< Whatever the size.
  std::uint64_t bytes_per_second = 0;  ///< Of its input; 0: as fast as one likes.
};

struct Kernel {
  KernelBody body = {};
  KernelCost cost = {};

  /// It is given several shards in one launch, three buffers for each; see
  /// DeviceKernel::takes_batches. Its input is every third buffer then, else the first one.
  bool takes_batches = false;
};

/// A twin of a kernel that takes batches, from one that does one shard. The first error is that of
/// all.
[[nodiscard]] KernelBody for_each_shard(KernelBody body);

/// The kernels of a program, by name. Each has a CPU twin, which is the fallback where no device
/// does the work, the kernel of emulated devices, and what results of others are compared with.
///
///     KernelRegistry kernels;
///     Status status = kernels.add("sum", {.body = sum_on_cpu});
///
/// Thread safety: add() must be over before anything else is called.
/// Lifetime: outlives the devices and pipelines that have it.
class KernelRegistry {
 public:
  /// Errors: kInvalidArgument for an empty name or body; kAlreadyExists for a name that is taken.
  [[nodiscard]] Status add(std::string name, Kernel kernel);

  /// Null when there is none. Lifetime: that of the registry.
  [[nodiscard]] const Kernel* find(std::string_view name) const noexcept;

 private:
  std::map<std::string, Kernel, std::less<>> kernels_;
};

}  // namespace pinion
