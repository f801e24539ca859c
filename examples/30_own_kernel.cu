// A kernel of the program's own on the first GPU, and its CPU twin where there is none: the answer
// is the same. Built where CUDA is; the .cu file is compiled by nvcc and linked as any other.

#include <cstdio>
#include <memory>
#include <span>
#include <vector>

#include <pinion/gpu/cuda_kernel.cuh>
#include <pinion/gpu/devices.hpp>

__global__ void square(double* values, std::size_t count, double offset) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) {
    values[i] = values[i] * values[i] + offset;
  }
}

void launch_square(cudaStream_t stream, std::span<const std::byte> arguments,
                   std::span<const pinion::DeviceSpan> buffers) {
  const std::size_t count = buffers[0].size_bytes / sizeof(double);
  square<<<static_cast<unsigned>(count / 256 + 1), 256, 0, stream>>>(
      pinion::device_pointer<double>(buffers[0]), count, pinion::argument<double>(arguments));
}

// All that it takes for devices to find it by its name.
const pinion::CudaKernel kSquare("example.square", pinion::cuda_launch<launch_square>);

pinion::Status run_on(pinion::IDevice& device, std::span<double> values, double offset) {
  const std::span<std::byte> bytes = std::as_writable_bytes(values);
  const auto stream = device.create_stream().value();
  const pinion::DeviceBuffer buffer = device.allocate(bytes.size()).value();
  const pinion::DeviceSpan span = buffer.span();
  PINION_RETURN_IF_ERROR(stream->copy_in(span, bytes));
  PINION_RETURN_IF_ERROR(
      stream->launch("example.square", std::as_bytes(std::span(&offset, 1)), {&span, 1}));
  PINION_RETURN_IF_ERROR(stream->copy_out(bytes, span));
  const pinion::Completion done = stream->reached();
  done.wait();
  return done.status();
}

int main() {
  std::vector<double> values(1000, 6.0);
  const auto devices = pinion::open_devices({});
  if (devices) {
    if (const pinion::Status status = run_on(*devices->front(), values, 6.0); !status.ok()) {
      return pinion::report(status);
    }
  } else {
    for (double& value : values) {
      value = value * value + 6.0;
    }
  }
  std::printf("the last value is %g\n", values.back());
}
