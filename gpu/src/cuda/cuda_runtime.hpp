#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <pinion/core/device.hpp>
#include <pinion/core/status.hpp>
#include <pinion/gpu/cuda_kernel.hpp>

namespace pinion {

/// A cudaStream_t and a cudaEvent_t, as numbers. 0: none.
enum class CudaStream : std::uintptr_t {};
enum class CudaEvent : std::uintptr_t {};

/// What CUDA tells of a device.
struct CudaProperties {
  std::string name = {};
  std::array<unsigned char, 16> uuid = {};
  std::string pci_bus_id = {};
  int major = 0;
  int minor = 0;
  std::uint64_t memory_bytes = 0;
  int copy_engine_count = 1;
  int host_numa_id = -1;  ///< The nearest node of the host; -1 when it does not tell.
};

/// A kernel to start. Lifetime: that of the call.
struct CudaCall {
  std::string_view name = {};  ///< For tools that show what ran when.
  CudaLaunch launch = nullptr;
  std::span<const std::byte> arguments = {};
  std::span<const DeviceSpan> buffers = {};
};

/// CUDA's runtime as the back-end uses it, with no type of it, so that all that decides something
/// is compiled and tested where there is no CUDA. Every call gives CUDA's error number, 0 for
/// success, and works on `device`, which becomes the current one of the calling thread.
/// Extension point: the real one is cuda_runtime.cu, that of the tests a fake.
///
/// Thread safety: all members may be called from any thread.
class ICudaRuntime {
 public:
  virtual ~ICudaRuntime() = default;

  /// "cudaErrorNoDevice: no CUDA-capable device is detected".
  [[nodiscard]] virtual std::string error_text(int error) const = 0;

  /// 0 where there is no driver.
  [[nodiscard]] virtual int driver_version(int& version) = 0;
  [[nodiscard]] virtual int count_devices(int& count) = 0;
  [[nodiscard]] virtual int describe(int device, CudaProperties& properties) = 0;

  /// Makes the context of this process on the device when there is none.
  [[nodiscard]] virtual int free_memory(int device, std::uint64_t& size_bytes) = 0;

  /// Neither waits for the work of streams. Memory is released when no work names it any more.
  [[nodiscard]] virtual int allocate(int device, std::uint64_t size_bytes,
                                     std::uint64_t& address) = 0;
  [[nodiscard]] virtual int release(int device, std::uint64_t address) = 0;

  /// Host memory that all devices read and write by themselves.
  [[nodiscard]] virtual int allocate_host(int device, std::size_t size_bytes,
                                          std::byte*& memory) = 0;
  [[nodiscard]] virtual int release_host(int device, std::byte* memory) = 0;
  [[nodiscard]] virtual int register_host(int device, std::span<std::byte> memory) = 0;
  [[nodiscard]] virtual int unregister_host(int device, std::byte* memory) = 0;

  [[nodiscard]] virtual int create_stream(int device, CudaStream& stream) = 0;
  [[nodiscard]] virtual int destroy_stream(int device, CudaStream stream) = 0;
  [[nodiscard]] virtual int create_event(int device, CudaEvent& event) = 0;
  [[nodiscard]] virtual int destroy_event(int device, CudaEvent event) = 0;

  /// `event` is from here on what is in `stream` now.
  [[nodiscard]] virtual int record(int device, CudaStream stream, CudaEvent event) = 0;
  [[nodiscard]] virtual int wait_in_stream(int device, CudaStream stream, CudaEvent event) = 0;

  /// Blocks: until what was recorded has happened.
  [[nodiscard]] virtual int wait_for(int device, CudaEvent event) = 0;

  /// The memory of the host must be registered or of allocate_host().
  [[nodiscard]] virtual int copy_in(int device, CudaStream stream, std::uint64_t target,
                                    std::span<const std::byte> source) = 0;
  [[nodiscard]] virtual int copy_out(int device, CudaStream stream, std::span<std::byte> target,
                                     std::uint64_t source) = 0;

  /// A copy by the host, between what is in the stream before and after.
  [[nodiscard]] virtual int copy_on_host(int device, CudaStream stream, std::span<std::byte> target,
                                         const std::byte* source) = 0;

  /// A kernel that comes with the runtime; null when none has that name.
  [[nodiscard]] virtual CudaLaunch find_kernel(std::string_view name) const = 0;
  [[nodiscard]] virtual int launch(int device, CudaStream stream, const CudaCall& call) = 0;

  /// See IDevice. These two make no device the current one, and no call to CUDA.
  [[nodiscard]] virtual std::uint64_t begin_range(int device, std::uint64_t shard) = 0;
  virtual void end_range(std::uint64_t range) = 0;
};

/// The runtime that is linked into this program.
/// Errors: kUnimplemented when this build of Pinion carries no GPU back-end.
[[nodiscard]] Result<std::unique_ptr<ICudaRuntime>> load_cuda_runtime();

}  // namespace pinion
