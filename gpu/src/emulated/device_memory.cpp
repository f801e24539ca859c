#include "emulated/device_memory.hpp"

#include <new>
#include <string>
#include <utility>

namespace pinion {
namespace {

// Buffers begin where those of a GPU do, and never side by side: one byte beyond a buffer is in no
// buffer.
constexpr std::uint64_t kAlignment = 256;

// Devices have addresses of their own, so that a span of one means nothing to another.
constexpr std::uint64_t first_address(std::uint16_t index) {
  return (std::uint64_t{index} + 1) << 47;
}

std::uint64_t address_of(const std::byte* memory) {
  return reinterpret_cast<std::uintptr_t>(memory);
}

}  // namespace

DeviceMemory::DeviceMemory(const EmulatedDeviceSpec& spec, EmulatedEffects effects)
    : budget_bytes_(spec.info.memory_bytes),
      registered_bytes_max_(spec.registered_bytes_max),
      faults_(spec.faults),
      effects_(effects),
      next_address_(first_address(spec.info.place.index)) {}

Status DeviceMemory::check_allocation(std::uint64_t size_bytes) {
  if (size_bytes == 0) {
    return Status(ErrorCode::kInvalidArgument, "0 bytes of a device were asked for; at least 1");
  }
  if (++allocation_count_ == faults_.out_of_memory_at) {
    return Status(ErrorCode::kResourceExhausted, "allocation " + std::to_string(allocation_count_) +
                                                     " of the device fails, as planted");
  }
  if (size_bytes > budget_bytes_ - allocated_bytes_) {
    return Status(ErrorCode::kResourceExhausted, std::to_string(size_bytes) +
                                                     " bytes of the device were asked for; " +
                                                     std::to_string(allocated_bytes_) + " of " +
                                                     std::to_string(budget_bytes_) + " are in use");
  }
  return {};
}

Result<DeviceBuffer> DeviceMemory::allocate(std::uint64_t size_bytes) {
  const MutexLock lock(mutex_);
  PINION_RETURN_IF_ERROR(check_allocation(size_bytes));
  Allocation allocation{.size_bytes = size_bytes};
  if (effects_ == EmulatedEffects::kAll) {
    allocation.memory.reset(new (std::nothrow) std::byte[size_bytes]);
    if (allocation.memory == nullptr) {
      return Status(ErrorCode::kResourceExhausted, "the host has no " + std::to_string(size_bytes) +
                                                       " bytes for an emulated device");
    }
  }
  const std::uint64_t address = next_address_;
  next_address_ += (size_bytes / kAlignment + 2) * kAlignment;
  allocations_.emplace(address, std::move(allocation));
  allocated_bytes_ += size_bytes;
  return DeviceBuffer(address, size_bytes, std::shared_ptr<void>(this, [address](void* memory) {
                        static_cast<DeviceMemory*>(memory)->release(address);
                      }));
}

void DeviceMemory::release(std::uint64_t address) {
  const MutexLock lock(mutex_);
  const auto found = allocations_.find(address);
  allocated_bytes_ -= found->second.size_bytes;
  allocations_.erase(found);
}

DeviceMemory::Allocations::const_iterator DeviceMemory::allocation_of(DeviceSpan span) const {
  auto after = allocations_.upper_bound(span.address);
  if (after == allocations_.begin()) {
    return allocations_.end();
  }
  const auto found = std::prev(after);
  const std::uint64_t offset = span.address - found->first;
  const std::uint64_t size_bytes = found->second.size_bytes;
  const bool inside = offset <= size_bytes && span.size_bytes <= size_bytes - offset;
  return inside ? found : allocations_.end();
}

bool DeviceMemory::contains(DeviceSpan span) const {
  const MutexLock lock(mutex_);
  return allocation_of(span) != allocations_.end();
}

std::shared_ptr<std::byte[]> DeviceMemory::find(DeviceSpan span) const {
  const MutexLock lock(mutex_);
  const auto found = allocation_of(span);
  if (found == allocations_.end()) {
    return nullptr;
  }
  const std::shared_ptr<std::byte[]>& memory = found->second.memory;
  return {memory, memory.get() + (span.address - found->first)};
}

Result<HostRegistration> DeviceMemory::register_host(std::span<std::byte> memory) {
  if (memory.empty()) {
    return Status(ErrorCode::kInvalidArgument, "no bytes were given to register; at least 1");
  }
  if (faults_.registration_refused) {
    return Status(ErrorCode::kFailedPrecondition, "registering host memory fails, as planted");
  }
  const std::byte* const begin = memory.data();
  const MutexLock lock(mutex_);
  if (registrations_.overlaps(address_of(begin), memory.size())) {
    return Status(ErrorCode::kAlreadyExists, "some of the memory is registered already");
  }
  const std::uint64_t used_bytes = registrations_.bytes();
  if (memory.size() > registered_bytes_max_ - used_bytes) {
    return Status(ErrorCode::kResourceExhausted,
                  std::to_string(memory.size()) + " bytes of the host were to be registered; " +
                      std::to_string(used_bytes) + " of " + std::to_string(registered_bytes_max_) +
                      " are");
  }
  registrations_.add(address_of(begin), memory.size());
  return HostRegistration(std::shared_ptr<void>(
      this, [begin](void* owner) { static_cast<DeviceMemory*>(owner)->unregister(begin); }));
}

void DeviceMemory::unregister(const std::byte* begin) {
  const MutexLock lock(mutex_);
  registrations_.remove(address_of(begin));
}

bool DeviceMemory::is_registered(std::span<const std::byte> memory) const {
  const MutexLock lock(mutex_);
  return registrations_.contains(address_of(memory.data()), memory.size());
}

DeviceUsage DeviceMemory::usage() const {
  const MutexLock lock(mutex_);
  return {.budget_bytes = budget_bytes_,
          .allocated_bytes = allocated_bytes_,
          .registered_budget_bytes = registered_bytes_max_,
          .registered_bytes = registrations_.bytes()};
}

}  // namespace pinion
