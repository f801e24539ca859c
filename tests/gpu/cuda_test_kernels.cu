// The kernel of the conformance suite, as a user's own .cu file has it.

#include <pinion/gpu/cuda_kernel.cuh>

namespace {

__global__ void twice_plus(unsigned char* bytes, std::size_t count, unsigned char addend) {
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    bytes[i] = static_cast<unsigned char>(2 * bytes[i] + addend);
  }
}

void launch_twice_plus(cudaStream_t stream, std::span<const std::byte> arguments,
                       std::span<const pinion::DeviceSpan> buffers) {
  twice_plus<<<16, 256, 0, stream>>>(pinion::device_pointer<unsigned char>(buffers[0]),
                                     buffers[0].size_bytes,
                                     pinion::argument<unsigned char>(arguments));
}

const pinion::CudaKernel kTwicePlus("twice_plus", pinion::cuda_launch<launch_twice_plus>);

}  // namespace
