#include "cuda/pinion_kernels.hpp"

#include <algorithm>
#include <cstdint>

#include <cub/block/block_reduce.cuh>
#include <cub/device/device_histogram.cuh>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_reduce.cuh>

#include <pinion/gpu/cuda_kernel.cuh>
#include <pinion/gpu/kernels.hpp>

// The buffers of each: the input, the output, the scratch memory. No kernel allocates: what CUB
// needs lies in the scratch memory, whose size the functions of kernels.hpp give. Several shards at
// once are small: each gets one block of a kernel that needs no scratch memory.

namespace pinion {
namespace {

using Buffers = std::span<const DeviceSpan>;
using Arguments = std::span<const std::byte>;

constexpr unsigned kThreads = 256;

// Enough blocks to fill any GPU several times; their threads stride over the rest.
constexpr std::uint64_t kBlocksMax = 4096;

unsigned blocks_for(std::uint64_t count) {
  const std::uint64_t blocks = (count + kThreads - 1) / kThreads;
  return static_cast<unsigned>(std::clamp<std::uint64_t>(blocks, 1, kBlocksMax));
}

__device__ std::uint64_t first_index() {
  return std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

__device__ std::uint64_t index_stride() {
  return std::uint64_t{gridDim.x} * blockDim.x;
}

// Takes pieces from the front of scratch memory; what is asked for beyond its end is null.
class Scratch {
 public:
  explicit Scratch(DeviceSpan memory) : rest_(memory) {}

  template <class Value>
  Value* take(std::uint64_t count) {
    constexpr std::uint64_t kAlignment = 256;
    const std::uint64_t size_bytes =
        (count * sizeof(Value) + kAlignment - 1) / kAlignment * kAlignment;
    if (size_bytes > rest_.size_bytes) {
      rest_.size_bytes = 0;
      return nullptr;
    }
    Value* const taken = device_pointer<Value>(rest_);
    rest_ = rest_.part(size_bytes, rest_.size_bytes - size_bytes);
    return taken;
  }
  DeviceSpan rest() const { return rest_; }

 private:
  DeviceSpan rest_;
};

// Calls an algorithm of CUB with `memory` as its own: algorithm(pointer, size) as CUB has it.
template <class Algorithm>
cudaError_t call_cub(DeviceSpan memory, const Algorithm& algorithm) {
  std::size_t needed = 0;
  if (const cudaError_t error = algorithm(nullptr, needed); error != cudaSuccess) {
    return error;
  }
  if (needed > memory.size_bytes) {
    return cudaErrorInvalidValue;
  }
  std::size_t given = static_cast<std::size_t>(memory.size_bytes);
  return algorithm(device_pointer<void>(memory), given);
}

constexpr std::size_t kBuffersOfShard = 3;

bool are_buffers(Buffers buffers, KernelSizes (*sizes)(std::uint64_t)) {
  if (buffers.size() != kBuffersOfShard) {
    return false;
  }
  const KernelSizes needed = sizes(buffers[0].size_bytes);
  return buffers[1].size_bytes >= needed.output_bytes &&
         buffers[2].size_bytes >= needed.scratch_bytes;
}

// The shards of one launch, as an argument of a kernel, which may have 4 KiB.
template <class In, class Out>
struct SmallShards {
  static constexpr unsigned kCountMax = 64;

  const In* inputs[kCountMax];
  Out* outputs[kCountMax];
  std::uint64_t counts[kCountMax];  // Of whole values of the input.
};

// Calls launch(shards, how many) for all shards of `buffers`.
template <class In, class Out, class Launch>
cudaError_t launch_small(Buffers buffers, KernelSizes (*sizes)(std::uint64_t),
                         const Launch& launch) {
  using Shards = SmallShards<In, Out>;
  Shards shards = {};
  unsigned count = 0;
  for (std::size_t i = 0; i < buffers.size(); i += kBuffersOfShard) {
    if (!are_buffers(buffers.subspan(i, std::min(kBuffersOfShard, buffers.size() - i)), sizes)) {
      return cudaErrorInvalidValue;
    }
    shards.inputs[count] = device_pointer<const In>(buffers[i]);
    shards.outputs[count] = device_pointer<Out>(buffers[i + 1]);
    shards.counts[count] = buffers[i].size_bytes / sizeof(In);
    if (++count == Shards::kCountMax || i + kBuffersOfShard == buffers.size()) {
      launch(shards, count);
      if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
        return error;
      }
      count = 0;
    }
  }
  return cudaSuccess;
}

__global__ void scale_each(SmallShards<double, double> shards, MapScaleF64 arguments) {
  const double* const input = shards.inputs[blockIdx.x];
  double* const output = shards.outputs[blockIdx.x];
  for (std::uint64_t i = threadIdx.x; i < shards.counts[blockIdx.x]; i += blockDim.x) {
    output[i] = input[i] * arguments.factor + arguments.offset;
  }
}

__global__ void sum_each(SmallShards<double, double> shards) {
  using Reduce = cub::BlockReduce<double, kThreads>;
  __shared__ typename Reduce::TempStorage memory;
  const double* const input = shards.inputs[blockIdx.x];
  double sum = 0.0;
  for (std::uint64_t i = threadIdx.x; i < shards.counts[blockIdx.x]; i += blockDim.x) {
    sum += input[i];
  }
  const double total = Reduce(memory).Sum(sum);
  if (threadIdx.x == 0) {
    *shards.outputs[blockIdx.x] = total;
  }
}

// As many threads as there are values of a byte.
__global__ void count_each(SmallShards<std::uint8_t, std::uint64_t> shards) {
  __shared__ unsigned counts[kThreads];
  counts[threadIdx.x] = 0;
  __syncthreads();
  const std::uint8_t* const input = shards.inputs[blockIdx.x];
  for (std::uint64_t i = threadIdx.x; i < shards.counts[blockIdx.x]; i += blockDim.x) {
    atomicAdd(&counts[input[i]], 1u);
  }
  __syncthreads();
  shards.outputs[blockIdx.x][threadIdx.x] = counts[threadIdx.x];
}
static_assert(kThreads == 256);

__global__ void scale(const double* input, double* output, std::uint64_t count,
                      MapScaleF64 arguments) {
  for (std::uint64_t i = first_index(); i < count; i += index_stride()) {
    output[i] = input[i] * arguments.factor + arguments.offset;
  }
}

cudaError_t launch_map_scale_f64(cudaStream_t stream, Arguments arguments, Buffers buffers) {
  if (arguments.size() != sizeof(MapScaleF64)) {
    return cudaErrorInvalidValue;
  }
  if (buffers.size() > kBuffersOfShard) {
    return launch_small<double, double>(
        buffers, map_scale_f64_sizes, [&](const auto& shards, unsigned count) {
          scale_each<<<count, kThreads, 0, stream>>>(shards, argument<MapScaleF64>(arguments));
        });
  }
  if (!are_buffers(buffers, map_scale_f64_sizes)) {
    return cudaErrorInvalidValue;
  }
  const std::uint64_t count = buffers[0].size_bytes / sizeof(double);
  scale<<<blocks_for(count), kThreads, 0, stream>>>(device_pointer<const double>(buffers[0]),
                                                    device_pointer<double>(buffers[1]), count,
                                                    argument<MapScaleF64>(arguments));
  return cudaGetLastError();
}

cudaError_t launch_reduce_sum_f64(cudaStream_t stream, Arguments, Buffers buffers) {
  if (buffers.size() > kBuffersOfShard) {
    return launch_small<double, double>(buffers, reduce_sum_f64_sizes,
                                        [&](const auto& shards, unsigned count) {
                                          sum_each<<<count, kThreads, 0, stream>>>(shards);
                                        });
  }
  if (!are_buffers(buffers, reduce_sum_f64_sizes)) {
    return cudaErrorInvalidValue;
  }
  const auto count = static_cast<std::int64_t>(buffers[0].size_bytes / sizeof(double));
  return call_cub(buffers[2], [&](void* memory, std::size_t& size_bytes) {
    return cub::DeviceReduce::Sum(memory, size_bytes, device_pointer<const double>(buffers[0]),
                                  device_pointer<double>(buffers[1]), count, stream);
  });
}

__global__ void widen(const std::uint32_t* counts, std::uint64_t* output) {
  output[threadIdx.x] = counts[threadIdx.x];
}

__global__ void add_wide(const std::uint32_t* counts, std::uint64_t* output) {
  output[threadIdx.x] += counts[threadIdx.x];
}

// Counts of 32 bits are quicker, so more bytes than those can count are counted in parts.
cudaError_t launch_histogram_u8(cudaStream_t stream, Arguments, Buffers buffers) {
  constexpr unsigned kBins = 256;
  constexpr std::uint64_t kPartBytes = std::uint64_t{1} << 31;
  if (buffers.size() > kBuffersOfShard) {
    return launch_small<std::uint8_t, std::uint64_t>(
        buffers, histogram_u8_sizes, [&](const auto& shards, unsigned count) {
          count_each<<<count, kThreads, 0, stream>>>(shards);
        });
  }
  if (!are_buffers(buffers, histogram_u8_sizes)) {
    return cudaErrorInvalidValue;
  }
  Scratch scratch(buffers[2]);
  auto* const counts = scratch.take<std::uint32_t>(kBins);
  auto* const output = device_pointer<std::uint64_t>(buffers[1]);
  const std::uint64_t size_bytes = buffers[0].size_bytes;
  if (size_bytes == 0) {
    return cudaMemsetAsync(output, 0, kBins * sizeof(std::uint64_t), stream);
  }
  for (std::uint64_t done = 0; done < size_bytes; done += kPartBytes) {
    const DeviceSpan part = buffers[0].part(done, std::min(kPartBytes, size_bytes - done));
    const cudaError_t error =
        call_cub(scratch.rest(), [&](void* memory, std::size_t& memory_bytes) {
          return cub::DeviceHistogram::HistogramEven(
              memory, memory_bytes, device_pointer<const std::uint8_t>(part), counts,
              static_cast<int>(kBins) + 1, 0, static_cast<int>(kBins),
              static_cast<std::int64_t>(part.size_bytes), stream);
        });
    if (error != cudaSuccess) {
      return error;
    }
    (done == 0 ? widen : add_wide)<<<1, kBins, 0, stream>>>(counts, output);
  }
  return cudaGetLastError();
}

__global__ void to_columns(const KeyedF64* records, std::uint32_t* keys, double* values,
                           std::uint64_t count) {
  for (std::uint64_t i = first_index(); i < count; i += index_stride()) {
    const KeyedF64 record = records[i];
    keys[i] = record.key;
    values[i] = record.value;
  }
}

__global__ void to_records(const std::uint32_t* keys, const double* values,
                           const std::uint64_t* count, KeyedSumHead* head, KeyedF64* records) {
  const std::uint64_t key_count = *count;
  if (first_index() == 0) {
    *head = {.key_count = key_count, .unused = 0};
  }
  for (std::uint64_t i = first_index(); i < key_count; i += index_stride()) {
    records[i] = {.key = keys[i], .unused = 0, .value = values[i]};
  }
}

// By columns, sorted by key, then summed over equal keys. Several shards one after the other, so
// that they may share the scratch memory.
cudaError_t launch_keyed_sum_u32_f64(cudaStream_t stream, Arguments arguments, Buffers buffers) {
  if (buffers.size() > kBuffersOfShard && buffers.size() % kBuffersOfShard == 0) {
    for (std::size_t i = 0; i < buffers.size(); i += kBuffersOfShard) {
      const cudaError_t error =
          launch_keyed_sum_u32_f64(stream, arguments, buffers.subspan(i, kBuffersOfShard));
      if (error != cudaSuccess) {
        return error;
      }
    }
    return cudaSuccess;
  }
  if (!are_buffers(buffers, keyed_sum_u32_f64_sizes)) {
    return cudaErrorInvalidValue;
  }
  const std::uint64_t count = buffers[0].size_bytes / sizeof(KeyedF64);
  auto* const head = device_pointer<KeyedSumHead>(buffers[1]);
  if (count == 0) {
    return cudaMemsetAsync(head, 0, sizeof(KeyedSumHead), stream);
  }
  Scratch scratch(buffers[2]);
  auto* const key_count = scratch.take<std::uint64_t>(1);
  cub::DoubleBuffer<std::uint32_t> keys(scratch.take<std::uint32_t>(count),
                                        scratch.take<std::uint32_t>(count));
  cub::DoubleBuffer<double> values(scratch.take<double>(count), scratch.take<double>(count));
  if (values.Current() == nullptr || values.Alternate() == nullptr) {
    return cudaErrorInvalidValue;
  }
  to_columns<<<blocks_for(count), kThreads, 0, stream>>>(device_pointer<const KeyedF64>(buffers[0]),
                                                         keys.Current(), values.Current(), count);
  const auto items = static_cast<std::int64_t>(count);
  cudaError_t error = call_cub(scratch.rest(), [&](void* memory, std::size_t& size_bytes) {
    return cub::DeviceRadixSort::SortPairs(memory, size_bytes, keys, values, items, 0, 32, stream);
  });
  if (error == cudaSuccess) {
    error = call_cub(scratch.rest(), [&](void* memory, std::size_t& size_bytes) {
      return cub::DeviceReduce::ReduceByKey(memory, size_bytes, keys.Current(), keys.Alternate(),
                                            values.Current(), values.Alternate(), key_count,
                                            cuda::std::plus<>(), items, stream);
    });
  }
  if (error == cudaSuccess) {
    to_records<<<blocks_for(count), kThreads, 0, stream>>>(keys.Alternate(), values.Alternate(),
                                                           key_count, head,
                                                           reinterpret_cast<KeyedF64*>(head + 1));
    error = cudaGetLastError();
  }
  return error;
}

}  // namespace

CudaLaunch find_pinion_kernel(std::string_view name) noexcept {
  return name == kMapScaleF64      ? cuda_launch<launch_map_scale_f64>
         : name == kReduceSumF64   ? cuda_launch<launch_reduce_sum_f64>
         : name == kHistogramU8    ? cuda_launch<launch_histogram_u8>
         : name == kKeyedSumU32F64 ? cuda_launch<launch_keyed_sum_u32_f64>
                                   : nullptr;
}

}  // namespace pinion
