#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pinion/core/completion.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// What went wrong on a device, by what its user does next. Every error of a device has the code of
/// its fault, so the fault of a Status is known wherever it goes: see device_fault().
enum class DeviceFault : std::uint8_t {
  kNone,
  kOutOfMemory,    ///< Try again when memory has come back, with less, or elsewhere.
  kConfiguration,  ///< This never works on this device; the device works on.
  kSticky,         ///< The device failed while it worked; this process can use it no more.
  kLost,           ///< The device is gone.
  kHang,           ///< Work did not end in its time, and the device was abandoned.
};

/// "none", "out of memory", "configuration", "sticky", "lost", "hang".
[[nodiscard]] std::string_view to_string(DeviceFault fault) noexcept;

/// The fault that an error of a device stands for: kResourceExhausted for kOutOfMemory, kDataLoss
/// for kSticky, kUnavailable for kLost, kDeadlineExceeded for kHang, every other error for
/// kConfiguration.
[[nodiscard]] DeviceFault device_fault(ErrorCode code) noexcept;

/// Whether the device does nothing any more: kSticky, kLost and kHang.
[[nodiscard]] bool ends_device(DeviceFault fault) noexcept;

/// What a device is. Constant while it is open.
struct DeviceInfo {
  Place place = {};             ///< Of kind kDevice.
  std::string name = {};        ///< The maker's name, for words to people.
  std::string uuid = {};        ///< Names the device across reboots and containers.
  std::string pci_bus_id = {};  ///< "0000:3b:00.0"; empty for a device without one.

  /// The UUID of the whole device of which this one is a slice (MIG); empty for a whole one.
  std::string mig_parent_uuid = {};

  std::string architecture = {};  ///< What kernels must be built for: "sm_90".
  std::uint64_t memory_bytes = 0;

  /// With 2 or more, copies to the device and from it happen at once; with 1 in turn.
  unsigned copy_engine_count = 1;

  Place near_memory = {};  ///< The NUMA node with the shortest way to the device.

  /// Operating-system numbers, ascending, of the CPUs nearest to the device that this process may
  /// use; may be empty.
  std::vector<unsigned> near_cpus = {};
};

/// How much of a device's memory, and of the host's for it, is in use. A snapshot.
struct DeviceUsage {
  std::uint64_t budget_bytes = 0;  ///< What this process may allocate in all.
  std::uint64_t allocated_bytes = 0;
  std::uint64_t registered_budget_bytes = 0;  ///< Host memory that may be registered in all.
  std::uint64_t registered_bytes = 0;
};

/// Names bytes in a DeviceBuffer. A plain value, which keeps nothing alive.
struct DeviceSpan {
  std::uint64_t address = 0;
  std::uint64_t size_bytes = 0;

  /// `size_bytes` from `offset` on. Whether they lie in a buffer is looked at when it is used.
  [[nodiscard]] DeviceSpan part(std::uint64_t offset, std::uint64_t part_bytes) const noexcept {
    return {address + offset, part_bytes};
  }
};

/// Memory on a device. Movable, not copyable; its end gives the memory back to the budget.
///
/// Thread safety: distinct objects are independent.
/// Lifetime: must not outlive its device, nor end before the work that names it is complete.
class DeviceBuffer {
 public:
  DeviceBuffer() noexcept = default;

  /// For devices. `keep_alive` owns the memory at `address`.
  DeviceBuffer(std::uint64_t address, std::uint64_t size_bytes,
               std::shared_ptr<void> keep_alive) noexcept
      : address_(address), size_bytes_(size_bytes), keep_alive_(std::move(keep_alive)) {}

  DeviceBuffer(DeviceBuffer&&) noexcept = default;
  DeviceBuffer& operator=(DeviceBuffer&&) noexcept = default;

  /// Where it lies in the device's own addresses; nothing that the host may follow.
  [[nodiscard]] std::uint64_t address() const noexcept { return address_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  [[nodiscard]] DeviceSpan span() const noexcept { return {address_, size_bytes_}; }

 private:
  std::uint64_t address_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::shared_ptr<void> keep_alive_;
};

/// Host memory that a device reads and writes by itself, at the full rate. Movable, not copyable;
/// its end takes the memory from the device and gives it back to the budget.
///
/// Thread safety: distinct objects are independent.
/// Lifetime: must not outlive its device nor the memory, nor end before the copies in it are
///   complete.
class HostRegistration {
 public:
  HostRegistration() noexcept = default;

  /// For devices. The end of `keep_alive` ends the registration.
  explicit HostRegistration(std::shared_ptr<void> keep_alive) noexcept
      : keep_alive_(std::move(keep_alive)) {}

  HostRegistration(HostRegistration&&) noexcept = default;
  HostRegistration& operator=(HostRegistration&&) noexcept = default;

 private:
  std::shared_ptr<void> keep_alive_;
};

/// A line of work on a device: what is put into one stream happens in that order; streams run
/// beside each other. Every device back-end has one. No call waits for the device.
///
/// Thread safety: none for one object.
/// Lifetime: the destructor waits for what is in the stream, so it must not run in a callback of a
///   completion of its device.
/// Errors of all calls: kDataLoss, kUnavailable or kDeadlineExceeded when the device does nothing
///   any more; nothing was put into the stream.
class IDeviceStream {
 public:
  virtual ~IDeviceStream() = default;

  /// Begins to copy `source` to `target`.
  /// Lifetime: borrows both until the stream has passed this point.
  /// Errors: kOutOfRange when the sizes differ or `target` lies in no buffer of the device.
  [[nodiscard]] virtual Status copy_in(DeviceSpan target, std::span<const std::byte> source) = 0;

  /// Begins to fill `target` from `source`. Lifetime and errors as copy_in().
  [[nodiscard]] virtual Status copy_out(std::span<std::byte> target, DeviceSpan source) = 0;

  /// Begins to run the kernel that was registered as `kernel`. `arguments` are copied.
  /// Lifetime: borrows what `buffers` name until the stream has passed this point.
  /// Errors: kNotFound for an unknown kernel; kFailedPrecondition when it is not built for this
  ///   device; kOutOfRange when one of `buffers` lies in no buffer of the device.
  [[nodiscard]] virtual Status launch(std::string_view kernel, std::span<const std::byte> arguments,
                                      std::span<const DeviceSpan> buffers) = 0;

  /// What is put into this stream from here on begins after what is in `other` already.
  /// Errors: kInvalidArgument for a stream of another device.
  [[nodiscard]] virtual Status wait_for(const IDeviceStream& other) = 0;

  /// Signalled when everything that was put into the stream before has happened, or with the error
  /// of the device when it does nothing any more. Its callbacks may call the device.
  [[nodiscard]] virtual Completion reached() = 0;
};

/// A device that bodies may run on: what it is, its memory within a budget, its streams. It shows
/// no type of its maker's library. Extension point: one implementation for each kind of device; the
/// contract is tests/conformance/device_conformance.hpp.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: outlives its buffers, registrations and streams.
/// Errors of all calls: kDataLoss, kUnavailable or kDeadlineExceeded when the device does nothing
///   any more, as fault() then says.
class IDevice {
 public:
  virtual ~IDevice() = default;

  [[nodiscard]] virtual const DeviceInfo& info() const noexcept = 0;
  [[nodiscard]] virtual DeviceUsage usage() const = 0;

  /// kNone while the device works; then kSticky, kLost or kHang, whichever came first.
  [[nodiscard]] virtual DeviceFault fault() const = 0;

  /// Memory of exactly `size_bytes`; its content is undefined.
  /// Errors: kInvalidArgument for 0; kResourceExhausted when the budget or the device has no such
  ///   memory.
  [[nodiscard]] virtual Result<DeviceBuffer> allocate(std::uint64_t size_bytes) = 0;

  /// Lets the device read and write `memory` by itself. Takes long for large memory.
  /// Errors: kInvalidArgument for no bytes; kAlreadyExists when some of them are registered;
  ///   kResourceExhausted beyond the budget; kFailedPrecondition when the system refuses. All the
  ///   same may be copied, more slowly.
  [[nodiscard]] virtual Result<HostRegistration> register_host(std::span<std::byte> memory) = 0;

  /// Whether all of `memory` lies in one registration.
  [[nodiscard]] virtual bool is_registered(std::span<const std::byte> memory) const = 0;

  /// Errors: kResourceExhausted when the device has no more streams.
  [[nodiscard]] virtual Result<std::unique_ptr<IDeviceStream>> create_stream() = 0;

  /// Shows whoever profiles this process that the device has the shard, from here until the range
  /// is ended, by whichever thread. The answer names the range; 0, which need not be ended, where
  /// nobody profiles or no profiler knows the device: that costs next to nothing.
  /// Errors: none, whatever became of the device.
  [[nodiscard]] virtual std::uint64_t begin_range(std::uint64_t shard);
  virtual void end_range(std::uint64_t range);

  /// Gives up work that did not end in its time: completions that are not ready are signalled with
  /// kDeadlineExceeded, and fault() is kHang. Afterwards the device touches no memory of the host;
  /// a back-end that cannot have that ends the process, as nothing in it would be safe. Does
  /// nothing when the device does nothing any more.
  /// Blocks: for the work on host memory that is under way.
  virtual void abandon() = 0;
};

}  // namespace pinion
