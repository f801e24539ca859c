#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include <pinion/core/device.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>

#include "cuda/cuda_host_memory.hpp"
#include "cuda/cuda_runtime.hpp"
#include "cuda/event_waiter.hpp"
#include "range_table.hpp"

namespace pinion {

/// What the devices of a process share.
struct CudaSession {
  explicit CudaSession(std::unique_ptr<ICudaRuntime> made)
      : runtime(std::move(made)), host_memory(*runtime) {}

  const std::unique_ptr<ICudaRuntime> runtime;
  CudaHostMemory host_memory;
};

/// How much a device may be used.
struct CudaBudget {
  std::uint64_t memory_bytes = 0;
  std::uint64_t registered_bytes = 0;
};

/// A GPU by CUDA's runtime. What that says is written down by number (cuda_errors.hpp); the first
/// error that ends the device is its error from there on.
class CudaDevice final : public IDevice {
 public:
  /// `ordinal` is CUDA's number of the device.
  CudaDevice(std::shared_ptr<CudaSession> session, int ordinal, DeviceInfo info, CudaBudget budget);

  [[nodiscard]] const DeviceInfo& info() const noexcept override { return info_; }
  [[nodiscard]] DeviceUsage usage() const override;
  [[nodiscard]] DeviceFault fault() const override;
  [[nodiscard]] Result<DeviceBuffer> allocate(std::uint64_t size_bytes) override;
  [[nodiscard]] Result<HostRegistration> register_host(std::span<std::byte> memory) override;
  [[nodiscard]] bool is_registered(std::span<const std::byte> memory) const override;
  [[nodiscard]] Result<std::unique_ptr<IDeviceStream>> create_stream() override;

  [[nodiscard]] std::uint64_t begin_range(std::uint64_t shard) override;
  void end_range(std::uint64_t range) override;

  /// Ends the process, as CUDA has no call after which a device touches no memory of the host.
  void abandon() override;

 private:
  friend class CudaDeviceStream;

  [[nodiscard]] ICudaRuntime& runtime() const noexcept { return *session_->runtime; }
  [[nodiscard]] Status status() const PINION_EXCLUDES(mutex_);
  [[nodiscard]] bool contains(DeviceSpan span) const PINION_EXCLUDES(mutex_);

  /// The error of a call; when it ends the device, the one that ended it first.
  [[nodiscard]] Status note(int native, std::string_view what) PINION_EXCLUDES(mutex_);

  /// The same for work. What work ends with is nothing that another try would mend.
  [[nodiscard]] Status note_work(int native) PINION_EXCLUDES(mutex_);

  [[nodiscard]] Status note(Status status) PINION_EXCLUDES(mutex_);
  [[nodiscard]] Status reserve(std::uint64_t size_bytes) PINION_EXCLUDES(mutex_);
  void release(std::uint64_t address) PINION_EXCLUDES(mutex_);
  void unregister(std::span<std::byte> memory) PINION_EXCLUDES(mutex_);

  const std::shared_ptr<CudaSession> session_;
  const int ordinal_;
  const DeviceInfo info_;
  const CudaBudget budget_;

  mutable Mutex mutex_;
  RangeTable allocations_ PINION_GUARDED_BY(mutex_);
  RangeTable registrations_ PINION_GUARDED_BY(mutex_);
  // Of calls that allocate or register at the moment.
  std::uint64_t reserved_bytes_ PINION_GUARDED_BY(mutex_) = 0;
  Status error_ PINION_GUARDED_BY(mutex_);
};

/// A stream of a CudaDevice.
///
/// Memory of the host that is not registered is copied by way of a piece that is, in the order of
/// the stream, by the host: CUDA's own copies of such memory make their caller wait for the device.
class CudaDeviceStream final : public IDeviceStream {
 public:
  /// Errors: those of IDevice::create_stream().
  [[nodiscard]] static Result<std::unique_ptr<IDeviceStream>> create(CudaDevice& device);
  ~CudaDeviceStream() override;
  CudaDeviceStream(const CudaDeviceStream&) = delete;
  CudaDeviceStream& operator=(const CudaDeviceStream&) = delete;

  [[nodiscard]] Status copy_in(DeviceSpan target, std::span<const std::byte> source) override;
  [[nodiscard]] Status copy_out(std::span<std::byte> target, DeviceSpan source) override;
  [[nodiscard]] Status launch(std::string_view kernel, std::span<const std::byte> arguments,
                              std::span<const DeviceSpan> buffers) override;
  [[nodiscard]] Status wait_for(const IDeviceStream& other) override;
  [[nodiscard]] Completion reached() override;

 private:
  explicit CudaDeviceStream(CudaDevice& device) : device_(device) {}

  [[nodiscard]] Status open();
  [[nodiscard]] Status check(DeviceSpan span, std::size_t size_bytes) const;
  [[nodiscard]] Status copy_in_pieces(std::uint64_t target, std::span<const std::byte> source);
  [[nodiscard]] Status copy_out_pieces(std::span<std::byte> target, std::uint64_t source);
  [[nodiscard]] Status make_bounce();

  CudaDevice& device_;
  CudaStream stream_ = {};
  CudaEvent wait_event_ = {};
  std::byte* bounce_ = nullptr;
  std::unique_ptr<EventWaiter> waiter_;
};

}  // namespace pinion
