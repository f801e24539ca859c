#include "by_hand.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include <cuda_runtime.h>
#include <cub/device/device_histogram.cuh>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_reduce.cuh>

#include <pinion/core/clock.hpp>
#include <pinion/gpu/cuda_kernel.cuh>
#include <pinion/gpu/kernels.hpp>

namespace pinion::bench::by_hand {
namespace {

constexpr int kRepetitions = 11;
constexpr unsigned kThreads = 256;
constexpr unsigned kBlocks = 2048;

Status check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) {
    return {};
  }
  return Status::from_native(ErrorOrigin::kCuda, error, ErrorCode::kInternal,
                             std::string(what) + ": " + cudaGetErrorString(error));
}

struct FreeDevice {
  void operator()(void* memory) const { cudaFree(memory); }
};
struct FreeHost {
  void operator()(void* memory) const { cudaFreeHost(memory); }
};
template <class Value>
using OnDevice = std::unique_ptr<Value, FreeDevice>;

template <class Value>
Status allocate(OnDevice<Value>& memory, std::uint64_t count) {
  void* raw = nullptr;
  PINION_RETURN_IF_ERROR(
      check(cudaMalloc(&raw, std::max<std::uint64_t>(count, 1) * sizeof(Value)), "cudaMalloc"));
  memory.reset(static_cast<Value*>(raw));
  return {};
}

double seconds_since(const IClock& clock, Instant begin) {
  return std::chrono::duration<double>(clock.now() - begin).count();
}

// The median time of `work`, which is put into the default stream, until it has happened.
Result<double> median_of(const std::function<cudaError_t()>& work) {
  const SystemClock clock;
  std::vector<double> times;
  for (int repetition = 0; repetition <= kRepetitions; ++repetition) {
    const Instant begin = clock.now();
    PINION_RETURN_IF_ERROR(check(work(), "by hand"));
    PINION_RETURN_IF_ERROR(check(cudaDeviceSynchronize(), "by hand"));
    if (repetition > 0) {  // The first one warms up.
      times.push_back(seconds_since(clock, begin));
    }
  }
  std::nth_element(times.begin(), times.begin() + kRepetitions / 2, times.end());
  return times[kRepetitions / 2];
}

__global__ void scale(const double* input, double* output, std::uint64_t count) {
  const std::uint64_t stride = std::uint64_t{gridDim.x} * blockDim.x;
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    output[i] = input[i] * 2.0 + 0.5;
  }
}

__global__ void widen(const unsigned* counts, std::uint64_t* output) {
  output[threadIdx.x] = counts[threadIdx.x];
}

__global__ void to_columns(const KeyedF64* records, std::uint32_t* keys, double* values,
                           std::uint64_t count) {
  const std::uint64_t stride = std::uint64_t{gridDim.x} * blockDim.x;
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    keys[i] = records[i].key;
    values[i] = records[i].value;
  }
}

__global__ void to_records(const std::uint32_t* keys, const double* values,
                           const std::uint64_t* count, KeyedSumHead* head, KeyedF64* records) {
  const std::uint64_t stride = std::uint64_t{gridDim.x} * blockDim.x;
  const std::uint64_t first = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (first == 0) {
    *head = {.key_count = *count, .unused = 0};
  }
  for (std::uint64_t i = first; i < *count; i += stride) {
    records[i] = {.key = keys[i], .unused = 0, .value = values[i]};
  }
}

// A planted fault: CUDA's error 700, after which the process must end.
__global__ void write_to(int* nowhere) {
  *nowhere = 1;
}

void launch_fault(cudaStream_t stream, std::span<const std::byte>, std::span<const DeviceSpan>) {
  write_to<<<1, 1, 0, stream>>>(nullptr);
}

const CudaKernel kFault("bench.fault", cuda_launch<launch_fault>);

// Times `rounds` calls after each other and reads what is in `output` then.
Result<Resident> measure(int rounds, const OnDevice<std::byte>& output, std::uint64_t output_bytes,
                         const std::function<cudaError_t()>& call) {
  Result<double> seconds = median_of([&] {
    cudaError_t error = cudaSuccess;
    for (int round = 0; round < rounds && error == cudaSuccess; ++round) {
      error = call();
    }
    return error;
  });
  if (!seconds) {
    return std::move(seconds).error();
  }
  Resident resident = {.seconds = *seconds / rounds};
  resident.output.resize(output_bytes);
  PINION_RETURN_IF_ERROR(
      check(cudaMemcpy(resident.output.data(), output.get(), output_bytes, cudaMemcpyDeviceToHost),
            "reading the output"));
  return resident;
}

Status upload(std::span<const std::byte> input, OnDevice<std::byte>& memory) {
  PINION_RETURN_IF_ERROR(allocate(memory, input.size()));
  return check(cudaMemcpy(memory.get(), input.data(), input.size(), cudaMemcpyHostToDevice),
               "copying the input");
}

struct Slot {
  OnDevice<std::byte> input;
  OnDevice<std::byte> output;
  cudaEvent_t copied_in = nullptr;
  cudaEvent_t computed = nullptr;
  cudaEvent_t copied_out = nullptr;
};

}  // namespace

Result<CopyRates> copy_rates(std::uint64_t size_bytes) {
  OnDevice<std::byte> device;
  OnDevice<std::byte> other;
  PINION_RETURN_IF_ERROR(allocate(device, size_bytes));
  PINION_RETURN_IF_ERROR(allocate(other, size_bytes));
  void* raw = nullptr;
  PINION_RETURN_IF_ERROR(check(cudaMallocHost(&raw, size_bytes), "cudaMallocHost"));
  const std::unique_ptr<void, FreeHost> host(raw);
  const auto rate = [&](void* target, const void* source, cudaMemcpyKind kind) {
    return median_of([=] { return cudaMemcpyAsync(target, source, size_bytes, kind, nullptr); });
  };
  const Result<double> in = rate(device.get(), host.get(), cudaMemcpyHostToDevice);
  const Result<double> out = rate(host.get(), device.get(), cudaMemcpyDeviceToHost);
  const Result<double> inside = rate(other.get(), device.get(), cudaMemcpyDeviceToDevice);
  for (const Result<double>* const result : {&in, &out, &inside}) {
    if (!*result) {
      return result->error();
    }
  }
  const auto bytes = static_cast<double>(size_bytes);
  return CopyRates{.in = bytes / *in, .out = bytes / *out, .on_device = 2 * bytes / *inside};
}

Result<std::span<std::byte>> pinned(std::uint64_t size_bytes) {
  void* raw = nullptr;
  PINION_RETURN_IF_ERROR(check(cudaMallocHost(&raw, size_bytes), "cudaMallocHost"));
  return std::span(static_cast<std::byte*>(raw), size_bytes);
}

Result<double> scale_loop(std::span<const std::byte> input, std::span<std::byte> output,
                          std::uint64_t shard_bytes) {
  constexpr std::size_t kDepth = 3;
  cudaStream_t streams[3] = {};
  for (cudaStream_t& stream : streams) {
    PINION_RETURN_IF_ERROR(
        check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream"));
  }
  const auto [in, execute, out] = streams;
  Slot slots[kDepth];
  for (Slot& slot : slots) {
    PINION_RETURN_IF_ERROR(allocate(slot.input, shard_bytes));
    PINION_RETURN_IF_ERROR(allocate(slot.output, shard_bytes));
    for (cudaEvent_t* const event : {&slot.copied_in, &slot.computed, &slot.copied_out}) {
      PINION_RETURN_IF_ERROR(
          check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "an event"));
    }
  }
  const std::uint64_t count = shard_bytes / sizeof(double);
  const unsigned blocks =
      static_cast<unsigned>(std::min<std::uint64_t>((count + kThreads - 1) / kThreads, kBlocks));
  Result<double> seconds = median_of([&] {
    for (std::uint64_t shard = 0; (shard + 1) * shard_bytes <= input.size(); ++shard) {
      Slot& slot = slots[shard % kDepth];
      const std::byte* const source = input.data() + shard * shard_bytes;
      cudaStreamWaitEvent(in, slot.copied_out, 0);
      cudaMemcpyAsync(slot.input.get(), source, shard_bytes, cudaMemcpyHostToDevice, in);
      cudaEventRecord(slot.copied_in, in);
      cudaStreamWaitEvent(execute, slot.copied_in, 0);
      scale<<<blocks, kThreads, 0, execute>>>(reinterpret_cast<const double*>(slot.input.get()),
                                              reinterpret_cast<double*>(slot.output.get()), count);
      cudaEventRecord(slot.computed, execute);
      cudaStreamWaitEvent(out, slot.computed, 0);
      cudaMemcpyAsync(output.data() + shard * shard_bytes, slot.output.get(), shard_bytes,
                      cudaMemcpyDeviceToHost, out);
      cudaEventRecord(slot.copied_out, out);
    }
    return cudaGetLastError();
  });
  for (const Slot& slot : slots) {
    for (const cudaEvent_t event : {slot.copied_in, slot.computed, slot.copied_out}) {
      cudaEventDestroy(event);
    }
  }
  for (const cudaStream_t stream : streams) {
    cudaStreamDestroy(stream);
  }
  return seconds;
}

Result<Resident> reduce_sum_f64(std::span<const std::byte> input, int rounds) {
  OnDevice<std::byte> values;
  OnDevice<std::byte> sum;
  OnDevice<std::byte> memory;
  PINION_RETURN_IF_ERROR(upload(input, values));
  PINION_RETURN_IF_ERROR(allocate(sum, sizeof(double)));
  const auto count = static_cast<std::int64_t>(input.size() / sizeof(double));
  std::size_t needed = 0;
  const auto call = [&] {
    return cub::DeviceReduce::Sum(memory.get(), needed,
                                  reinterpret_cast<const double*>(values.get()),
                                  reinterpret_cast<double*>(sum.get()), count);
  };
  PINION_RETURN_IF_ERROR(check(call(), "DeviceReduce"));
  PINION_RETURN_IF_ERROR(allocate(memory, needed));
  return measure(rounds, sum, sizeof(double), call);
}

Result<Resident> histogram_u8(std::span<const std::byte> input, int rounds) {
  constexpr int kBins = 256;
  OnDevice<std::byte> values;
  OnDevice<unsigned> counts;
  OnDevice<std::byte> output;
  OnDevice<std::byte> memory;
  PINION_RETURN_IF_ERROR(upload(input, values));
  PINION_RETURN_IF_ERROR(allocate(counts, kBins));
  PINION_RETURN_IF_ERROR(allocate(output, kBins * sizeof(std::uint64_t)));
  std::size_t needed = 0;
  const auto call = [&] {
    return cub::DeviceHistogram::HistogramEven(
        memory.get(), needed, reinterpret_cast<const std::uint8_t*>(values.get()), counts.get(),
        kBins + 1, 0, kBins, static_cast<std::int64_t>(input.size()));
  };
  PINION_RETURN_IF_ERROR(check(call(), "DeviceHistogram"));
  PINION_RETURN_IF_ERROR(allocate(memory, needed));
  return measure(rounds, output, kBins * sizeof(std::uint64_t), [&] {
    const cudaError_t error = call();
    widen<<<1, kBins>>>(counts.get(), reinterpret_cast<std::uint64_t*>(output.get()));
    return error != cudaSuccess ? error : cudaGetLastError();
  });
}

Result<Resident> keyed_sum_u32_f64(std::span<const std::byte> input, int rounds) {
  const std::uint64_t count = input.size() / sizeof(KeyedF64);
  const auto items = static_cast<std::int64_t>(count);
  const std::uint64_t output_bytes = keyed_sum_u32_f64_sizes(input.size()).output_bytes;
  OnDevice<std::byte> records;
  OnDevice<std::byte> output;
  OnDevice<std::byte> sort_memory;
  OnDevice<std::byte> reduce_memory;
  OnDevice<std::uint32_t> key_columns[2];
  OnDevice<double> value_columns[2];
  OnDevice<std::uint64_t> key_count;
  PINION_RETURN_IF_ERROR(upload(input, records));
  PINION_RETURN_IF_ERROR(allocate(output, output_bytes));
  PINION_RETURN_IF_ERROR(allocate(key_count, 1));
  for (int side = 0; side < 2; ++side) {
    PINION_RETURN_IF_ERROR(allocate(key_columns[side], count));
    PINION_RETURN_IF_ERROR(allocate(value_columns[side], count));
  }
  std::size_t sort_bytes = 0;
  std::size_t reduce_bytes = 0;
  const auto call = [&]() -> cudaError_t {
    cub::DoubleBuffer keys(key_columns[0].get(), key_columns[1].get());
    cub::DoubleBuffer values(value_columns[0].get(), value_columns[1].get());
    if (sort_memory != nullptr) {
      to_columns<<<kBlocks, kThreads>>>(reinterpret_cast<const KeyedF64*>(records.get()),
                                        keys.Current(), values.Current(), count);
    }
    cudaError_t error =
        cub::DeviceRadixSort::SortPairs(sort_memory.get(), sort_bytes, keys, values, items);
    if (error == cudaSuccess) {
      error = cub::DeviceReduce::ReduceByKey(reduce_memory.get(), reduce_bytes, keys.Current(),
                                             keys.Alternate(), values.Current(), values.Alternate(),
                                             key_count.get(), cuda::std::plus<>(), items);
    }
    if (error == cudaSuccess && sort_memory != nullptr) {
      auto* const head = reinterpret_cast<KeyedSumHead*>(output.get());
      to_records<<<kBlocks, kThreads>>>(keys.Alternate(), values.Alternate(), key_count.get(), head,
                                        reinterpret_cast<KeyedF64*>(head + 1));
      error = cudaGetLastError();
    }
    return error;
  };
  PINION_RETURN_IF_ERROR(check(call(), "asking for the sizes"));
  PINION_RETURN_IF_ERROR(allocate(sort_memory, sort_bytes));
  PINION_RETURN_IF_ERROR(allocate(reduce_memory, reduce_bytes));
  return measure(rounds, output, output_bytes, call);
}

}  // namespace pinion::bench::by_hand
