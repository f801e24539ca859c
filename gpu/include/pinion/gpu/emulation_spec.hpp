#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/device.hpp>
#include <pinion/core/status.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// What an operation of a device does.
enum class EmulatedOperation : std::uint8_t { kCopyIn, kKernel, kCopyOut };

/// What an emulated device is to do wrong. Operations are copies and kernels, counted from 1 as
/// they begin.
struct EmulatedFaults {
  std::optional<std::uint64_t> out_of_memory_at = {};  ///< The n-th allocation is refused.
  std::optional<std::uint64_t> sticky_at = {};         ///< The n-th operation fails.
  std::optional<std::uint64_t> hang_at = {};           ///< The n-th operation never ends.
  std::optional<Duration> lost_at = {};                ///< The device is gone after so long.

  /// The process stops itself, as by SIGSTOP, amid the first operation of that kind: for a test to
  /// end it there. When it is continued, the device works on.
  std::optional<EmulatedOperation> stop_amid = {};
  double slow_factor = 1.0;  ///< Everything takes so many times as long.
  bool registration_refused = false;
  bool wrong_architecture = false;   ///< No kernel is built for the device.
  bool cannot_be_abandoned = false;  ///< Giving it up ends the process, as with a GPU.
};

/// How an emulated device behaves. Rates are in bytes per second.
struct EmulatedDeviceSpec {
  DeviceInfo info = {};
  std::uint64_t registered_bytes_max = 0;  ///< Host memory that may be registered.
  std::uint64_t copy_in_rate = 0;          ///< From registered memory.
  std::uint64_t copy_out_rate = 0;
  std::uint64_t pageable_rate = 0;  ///< The most for memory that is not registered.
  Duration latency = {};            ///< Added to each copy and each kernel.
  double kernel_factor = 1.0;       ///< A kernel takes so many times its cost.
  EmulatedFaults faults = {};
};

/// How the time of emulated devices passes.
enum class EmulatedTime : std::uint8_t {
  kVirtual,  ///< When the program lets it: see VirtualTime.
  kReal,     ///< By the machine's clock, and slower where the CPU twins are.
};

/// What emulated devices do with bytes.
enum class EmulatedEffects : std::uint8_t {
  kAll,   ///< Copies copy and kernels run.
  kNone,  ///< Only time passes: no memory is behind the devices, and results are undefined.
};

struct EmulationSpec {
  std::vector<EmulatedDeviceSpec> devices = {};  ///< In the order of their places.
  EmulatedTime time = EmulatedTime::kVirtual;
  EmulatedEffects effects = EmulatedEffects::kAll;
};

inline constexpr std::size_t kEmulatedDeviceCountMax = 256;

/// What a text such as "emu:4,mem=2g,h2d=25g,d2h=25g,fault=sticky@120" says: the number of devices,
/// 1 to 256, then settings in any order, each at most once but for faults.
///
/// | setting | meaning | unless told |
/// |---|---|---|
/// | mem=SIZE | memory of each device | 1g |
/// | pinned=SIZE | host memory that may be registered | 1g |
/// | h2d=RATE, d2h=RATE | copies from and to registered memory | 25g |
/// | pageable=RATE | the most for other memory | 6g |
/// | latency=TIME | added to each copy and kernel | 0s |
/// | kern=FACTORx | a kernel takes so many times its cost | 1x |
/// | copy_engines=N | 1 to 16 | 2 |
/// | arch=NAME | the architecture | sm_90 |
/// | time=virtual, time=real | how time passes | virtual |
/// | effects=all, effects=none | whether bytes are moved | all |
/// | fault=[DEVICE:]FAULT | of one device, from 0, or of all | |
///
/// SIZE is a number with k, m, g or t behind it for powers of 1024, RATE one of bytes per second
/// with k, m, g or t for powers of 1000, TIME one with ns, us, ms or s. FAULT is oom@N, sticky@N,
/// hang@N, lost@TIME, stop@in, stop@kernel, stop@out, slow@FACTORx, regfail, wrongarch or
/// noabandon.
///
/// Errors: kInvalidArgument, with the word that is wrong and what it should be.
[[nodiscard]] Result<EmulationSpec> parse_emulation_spec(std::string_view text);

/// As parse_emulation_spec(), with the names, buses and places of the GPUs that `topology` lists.
/// The number of devices may be "auto", for all of them.
/// Errors: also kInvalidArgument when there are fewer GPUs than asked for, or none.
[[nodiscard]] Result<EmulationSpec> parse_emulation_spec(std::string_view text,
                                                         const Topology& topology);

}  // namespace pinion
