// A stranger's kernel on GPUs, by the name of its CPU twin in job.cpp.
#include <cstddef>
#include <cstdint>
#include <span>

#include <pinion/gpu/cuda_kernel.cuh>

__global__ void count(const char* text, std::uint64_t size_bytes, unsigned long long* spaces) {
  const std::uint64_t stride = std::uint64_t{gridDim.x} * blockDim.x;
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < size_bytes;
       i += stride) {
    if (text[i] == ' ') {
      atomicAdd(spaces, 1ULL);
    }
  }
}

cudaError_t launch_count(cudaStream_t stream, std::span<const std::byte>,
                         std::span<const pinion::DeviceSpan> buffers) {
  auto* const spaces = pinion::device_pointer<unsigned long long>(buffers[1]);
  const cudaError_t error = cudaMemsetAsync(spaces, 0, sizeof(*spaces), stream);
  if (error == cudaSuccess) {
    count<<<64, 256, 0, stream>>>(pinion::device_pointer<const char>(buffers[0]),
                                  buffers[0].size_bytes, spaces);
  }
  return error;
}

const pinion::CudaKernel kCount("stranger.count_spaces", pinion::cuda_launch<launch_count>);
