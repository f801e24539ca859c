#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <pinion/core/completion.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// What a device is. Constant while it is open.
struct DeviceInfo {
  Place place = {};             ///< Of kind kDevice.
  std::string name = {};        ///< The maker's name, for words to people.
  std::string uuid = {};        ///< Names the device across reboots and containers.
  std::string pci_bus_id = {};  ///< "0000:3b:00.0"; empty for a device without one.
  std::uint64_t memory_bytes = 0;
  Place near_memory = {};  ///< The NUMA node with the shortest way to the device.
};

/// How much of a device's memory is in use. A snapshot.
struct DeviceUsage {
  std::uint64_t budget_bytes = 0;  ///< What this process may allocate in all.
  std::uint64_t allocated_bytes = 0;
};

/// Memory on a device. Movable, not copyable; its end gives the memory back to the budget.
///
/// Thread safety: distinct objects are independent.
/// Lifetime: must not outlive its device, nor end before the copies that name it are complete.
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

 private:
  std::uint64_t address_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::shared_ptr<void> keep_alive_;
};

/// A line of work on a device: what is put into one stream happens in that order; streams run
/// beside each other. Every device back-end has one.
///
/// Thread safety: none for one object.
/// Lifetime: the destructor waits for what is in the stream.
class IDeviceStream {
 public:
  virtual ~IDeviceStream() = default;

  /// Begins to copy `source` to `offset` of `target`.
  /// Lifetime: borrows both until the stream has passed this point.
  /// Errors: kOutOfRange when the bytes do not fit; kUnavailable when the device is lost.
  [[nodiscard]] virtual Status copy_in(DeviceBuffer& target, std::uint64_t offset,
                                       std::span<const std::byte> source) = 0;

  /// Begins to fill `target` from `offset` of `source`. Lifetime and errors as copy_in().
  [[nodiscard]] virtual Status copy_out(std::span<std::byte> target, const DeviceBuffer& source,
                                        std::uint64_t offset) = 0;

  /// Signalled when everything that was put into the stream before has happened, with the first
  /// error among it: kDataLoss for work that failed, kUnavailable for a device that was lost.
  [[nodiscard]] virtual Completion reached() = 0;
};

/// A device that bodies may run on: what it is, its memory within a budget, its streams. It shows
/// no type of its maker's library. Extension point: one implementation for each kind of device.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: outlives its buffers and streams.
class IDevice {
 public:
  virtual ~IDevice() = default;

  [[nodiscard]] virtual const DeviceInfo& info() const noexcept = 0;

  /// Memory of exactly `size_bytes`, at least 1; its content is undefined.
  /// Errors: kResourceExhausted when the budget or the device has no such memory; kUnavailable when
  ///   the device is lost.
  [[nodiscard]] virtual Result<DeviceBuffer> allocate(std::uint64_t size_bytes) = 0;

  /// Errors: kResourceExhausted when the device has no more streams; kUnavailable when it is lost.
  [[nodiscard]] virtual Result<std::unique_ptr<IDeviceStream>> create_stream() = 0;

  [[nodiscard]] virtual DeviceUsage usage() const = 0;
};

}  // namespace pinion
