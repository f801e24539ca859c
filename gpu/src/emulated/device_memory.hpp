#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>

#include <pinion/core/device.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>

#include <pinion/gpu/emulation_spec.hpp>

#include "range_table.hpp"

namespace pinion {

/// The memory of an emulated device and the host memory that is registered with it, each within a
/// budget. Addresses of the device are never given twice, so a buffer that has ended is known.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: outlives what it gave.
class DeviceMemory {
 public:
  DeviceMemory(const EmulatedDeviceSpec& spec, EmulatedEffects effects);

  [[nodiscard]] Result<DeviceBuffer> allocate(std::uint64_t size_bytes) PINION_EXCLUDES(mutex_);
  [[nodiscard]] Result<HostRegistration> register_host(std::span<std::byte> memory)
      PINION_EXCLUDES(mutex_);
  [[nodiscard]] bool is_registered(std::span<const std::byte> memory) const PINION_EXCLUDES(mutex_);
  [[nodiscard]] DeviceUsage usage() const PINION_EXCLUDES(mutex_);

  [[nodiscard]] bool contains(DeviceSpan span) const PINION_EXCLUDES(mutex_);

  /// The memory behind `span`, kept as long as the pointer; null when no buffer has all of it.
  [[nodiscard]] std::shared_ptr<std::byte[]> find(DeviceSpan span) const PINION_EXCLUDES(mutex_);

 private:
  struct Allocation {
    std::uint64_t size_bytes = 0;
    std::shared_ptr<std::byte[]> memory = {};
  };
  using Allocations = std::map<std::uint64_t, Allocation>;

  [[nodiscard]] Status check_allocation(std::uint64_t size_bytes) PINION_REQUIRES(mutex_);
  [[nodiscard]] Allocations::const_iterator allocation_of(DeviceSpan span) const
      PINION_REQUIRES(mutex_);
  void release(std::uint64_t address) PINION_EXCLUDES(mutex_);
  void unregister(const std::byte* begin) PINION_EXCLUDES(mutex_);

  const std::uint64_t budget_bytes_;
  const std::uint64_t registered_bytes_max_;
  const EmulatedFaults faults_;
  const EmulatedEffects effects_;

  mutable Mutex mutex_;
  Allocations allocations_ PINION_GUARDED_BY(mutex_);
  RangeTable registrations_ PINION_GUARDED_BY(mutex_);
  std::uint64_t next_address_ PINION_GUARDED_BY(mutex_);
  std::uint64_t allocation_count_ PINION_GUARDED_BY(mutex_) = 0;
  std::uint64_t allocated_bytes_ PINION_GUARDED_BY(mutex_) = 0;
};

}  // namespace pinion
