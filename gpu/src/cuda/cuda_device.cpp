#include "cuda/cuda_device.hpp"

#include <string>

#include "cuda/cuda_errors.hpp"

namespace pinion {
namespace {

std::uint64_t address_of(const std::byte* memory) {
  return reinterpret_cast<std::uintptr_t>(memory);
}

}  // namespace

CudaDevice::CudaDevice(std::shared_ptr<CudaSession> session, int ordinal, DeviceInfo info,
                       CudaBudget budget)
    : session_(std::move(session)), ordinal_(ordinal), info_(std::move(info)), budget_(budget) {}

DeviceUsage CudaDevice::usage() const {
  const MutexLock lock(mutex_);
  return {.budget_bytes = budget_.memory_bytes,
          .allocated_bytes = allocations_.bytes(),
          .registered_budget_bytes = budget_.registered_bytes,
          .registered_bytes = registrations_.bytes()};
}

Status CudaDevice::status() const {
  const MutexLock lock(mutex_);
  return error_;
}

DeviceFault CudaDevice::fault() const {
  return device_fault(status().code());
}

bool CudaDevice::contains(DeviceSpan span) const {
  const MutexLock lock(mutex_);
  return allocations_.contains(span.address, span.size_bytes);
}

Status CudaDevice::note(Status status) {
  if (!ends_device(device_fault(status.code()))) {
    return status;
  }
  const MutexLock lock(mutex_);
  if (error_.ok()) {
    error_ = std::move(status).with_context(info_.name + " (" + info_.uuid + ")");
  }
  return error_;
}

Status CudaDevice::note(int native, std::string_view what) {
  return note(cuda_status(runtime(), native, what));
}

Status CudaDevice::note_work(int native) {
  Status status = cuda_status(runtime(), native, "work of the device");
  if (!status.ok() && !ends_device(device_fault(status.code()))) {
    status = Status::from_native(ErrorOrigin::kCuda, native, ErrorCode::kDataLoss,
                                 std::string(status.message()));
  }
  return note(std::move(status));
}

Status CudaDevice::reserve(std::uint64_t size_bytes) {
  const MutexLock lock(mutex_);
  PINION_RETURN_IF_ERROR(error_);
  if (size_bytes == 0) {
    return Status(ErrorCode::kInvalidArgument, "0 bytes of a device were asked for; at least 1");
  }
  const std::uint64_t used_bytes = allocations_.bytes() + reserved_bytes_;
  if (size_bytes > budget_.memory_bytes - used_bytes) {
    return Status(ErrorCode::kResourceExhausted,
                  std::to_string(size_bytes) + " bytes of the device were asked for; " +
                      std::to_string(used_bytes) + " of " + std::to_string(budget_.memory_bytes) +
                      " are in use");
  }
  reserved_bytes_ += size_bytes;
  return {};
}

Result<DeviceBuffer> CudaDevice::allocate(std::uint64_t size_bytes) {
  PINION_RETURN_IF_ERROR(reserve(size_bytes));
  std::uint64_t address = 0;
  const int error = runtime().allocate(ordinal_, size_bytes, address);
  {
    const MutexLock lock(mutex_);
    reserved_bytes_ -= size_bytes;
    if (error == 0) {
      allocations_.add(address, size_bytes);
    }
  }
  if (error != 0) {
    return note(error, "allocating " + std::to_string(size_bytes) + " bytes of the device");
  }
  return DeviceBuffer(address, size_bytes, std::shared_ptr<void>(this, [address](void* device) {
                        static_cast<CudaDevice*>(device)->release(address);
                      }));
}

void CudaDevice::release(std::uint64_t address) {
  {
    const MutexLock lock(mutex_);
    allocations_.remove(address);
  }
  // The next call finds an error that ends the device; another one has nobody to be told.
  static_cast<void>(note(runtime().release(ordinal_, address), "giving back memory"));
}

Result<HostRegistration> CudaDevice::register_host(std::span<std::byte> memory) {
  {
    const MutexLock lock(mutex_);
    PINION_RETURN_IF_ERROR(error_);
    if (memory.empty()) {
      return Status(ErrorCode::kInvalidArgument, "no bytes were given to register; at least 1");
    }
    if (registrations_.overlaps(address_of(memory.data()), memory.size())) {
      return Status(ErrorCode::kAlreadyExists, "some of the memory is registered already");
    }
    const std::uint64_t used_bytes = registrations_.bytes();
    if (memory.size() > budget_.registered_bytes - used_bytes) {
      return Status(ErrorCode::kResourceExhausted,
                    std::to_string(memory.size()) + " bytes of the host were to be registered; " +
                        std::to_string(used_bytes) + " of " +
                        std::to_string(budget_.registered_bytes) + " are");
    }
    // At once, so that two calls never share the last bytes of the budget. A copy that already
    // takes them for registered is of memory whose registration has not returned.
    registrations_.add(address_of(memory.data()), memory.size());
  }
  if (const int error = session_->host_memory.add(ordinal_, memory); error != 0) {
    {
      const MutexLock lock(mutex_);
      registrations_.remove(address_of(memory.data()));
    }
    Status status =
        note(error, "registering " + std::to_string(memory.size()) + " bytes of the host");
    if (ends_device(device_fault(status.code()))) {
      return status;
    }
    // Whatever the reason, also a limit of the system on memory: it is copied more slowly.
    return Status::from_native(ErrorOrigin::kCuda, error, ErrorCode::kFailedPrecondition,
                               std::string(status.message()));
  }
  return HostRegistration(std::shared_ptr<void>(
      this, [memory](void* device) { static_cast<CudaDevice*>(device)->unregister(memory); }));
}

void CudaDevice::unregister(std::span<std::byte> memory) {
  {
    const MutexLock lock(mutex_);
    registrations_.remove(address_of(memory.data()));
  }
  session_->host_memory.remove(ordinal_, memory);
}

bool CudaDevice::is_registered(std::span<const std::byte> memory) const {
  const MutexLock lock(mutex_);
  return registrations_.contains(address_of(memory.data()), memory.size());
}

Result<std::unique_ptr<IDeviceStream>> CudaDevice::create_stream() {
  PINION_RETURN_IF_ERROR(status());
  return CudaDeviceStream::create(*this);
}

std::uint64_t CudaDevice::begin_range(std::uint64_t shard) {
  return runtime().begin_range(ordinal_, shard);
}

void CudaDevice::end_range(std::uint64_t range) {
  runtime().end_range(range);
}

void CudaDevice::abandon() {
  if (!status().ok()) {
    return;
  }
  exit_with(
      Status(ErrorCode::kDeadlineExceeded,
             info_.name + " (" + info_.uuid +
                 ") was abandoned, as its work did not end in time; this process ends, as the "
                 "device may still write to its memory"));
}

}  // namespace pinion
