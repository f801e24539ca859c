#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>

#include <cuda_runtime.h>

#include <pinion/core/device.hpp>
#include <pinion/gpu/cuda_kernel.hpp>

namespace pinion {

/// A plain function that starts a kernel, as a CudaLaunch. It takes the stream, the bytes of the
/// arguments and the buffers of the launch, puts its work into the stream and does not wait. It
/// gives nothing, and what the launch itself says is looked at after it, or a cudaError_t.
///
///     __global__ void scale(double* values, std::size_t count, double factor);
///
///     void launch_scale(cudaStream_t stream, std::span<const std::byte> arguments,
///                       std::span<const pinion::DeviceSpan> buffers) {
///       const std::size_t count = buffers[0].size_bytes / sizeof(double);
///       scale<<<count / 256 + 1, 256, 0, stream>>>(pinion::device_pointer<double>(buffers[0]),
///                                                  count, pinion::argument<double>(arguments));
///     }
///     const pinion::CudaKernel kScale("demo.scale", pinion::cuda_launch<launch_scale>);
///
/// Precondition: it throws nothing.
template <auto kFunction>
int cuda_launch(void* stream, std::span<const std::byte> arguments,
                std::span<const DeviceSpan> buffers) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if constexpr (std::is_void_v<decltype(kFunction(cuda_stream, arguments, buffers))>) {
    kFunction(cuda_stream, arguments, buffers);
    return cudaGetLastError();
  } else {
    const cudaError_t error = kFunction(cuda_stream, arguments, buffers);
    return error != cudaSuccess ? error : cudaGetLastError();
  }
}

/// Where a buffer lies, for kernels. Buffers begin at multiples of 256 bytes, parts of them where
/// the program says.
template <class Value>
[[nodiscard]] Value* device_pointer(DeviceSpan span) noexcept {
  return reinterpret_cast<Value*>(span.address);
}

/// The argument of a kernel that takes one plain value.
/// Precondition: as many bytes were given.
template <class Value>
[[nodiscard]] Value argument(std::span<const std::byte> arguments) noexcept {
  static_assert(std::is_trivially_copyable_v<Value>);
  PINION_ASSERT(arguments.size() == sizeof(Value));
  Value value;
  std::memcpy(&value, arguments.data(), sizeof(Value));
  return value;
}

}  // namespace pinion
