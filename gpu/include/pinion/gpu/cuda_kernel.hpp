#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include <pinion/core/device.hpp>

namespace pinion {

/// Puts a kernel into `stream`, a cudaStream_t, and does not wait for it; gives CUDA's error
/// number, 0 for success. The stream's device is the current one. Most are made from a plain
/// function by cuda_launch of <pinion/gpu/cuda_kernel.cuh>.
using CudaLaunch = int (*)(void* stream, std::span<const std::byte> arguments,
                           std::span<const DeviceSpan> buffers);

/// The part of a kernel that runs on GPUs of CUDA, by the name that its CPU twin has in the
/// KernelRegistry. It is an object at namespace scope in the program's own .cu file, which is all
/// that it takes for devices to find the kernel:
///
///     const pinion::CudaKernel kScale("demo.scale", pinion::cuda_launch<scale>);
///
/// A linker takes only what it needs from a static library: such a file belongs to the program
/// itself or into an object library. Of two kernels of one name, the one that comes later counts,
/// and those of Pinion come first.
///
/// Thread safety: find() may be called from any thread.
/// Lifetime: to the end of the program, `name` too.
class CudaKernel {
 public:
  CudaKernel(std::string_view name, CudaLaunch launch) noexcept;
  CudaKernel(const CudaKernel&) = delete;
  CudaKernel& operator=(const CudaKernel&) = delete;

  /// Null when the program has no such kernel.
  [[nodiscard]] static CudaLaunch find(std::string_view name) noexcept;

 private:
  const std::string_view name_;
  const CudaLaunch launch_;
  const CudaKernel* next_ = nullptr;
};

}  // namespace pinion
