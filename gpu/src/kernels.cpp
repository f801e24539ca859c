#include <pinion/gpu/kernels.hpp>

#include <array>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion {
namespace {

// As devices compute: so many bytes of input in a second, in emulated time.
constexpr std::uint64_t kBytesPerSecond = std::uint64_t{1} << 40;

// Buffers may begin anywhere, where a twin runs in place of a kernel.
template <class Value>
Value read(std::span<const std::byte> bytes, std::size_t index) {
  Value value;
  std::memcpy(&value, bytes.data() + index * sizeof(Value), sizeof(Value));
  return value;
}

template <class Value>
void write(std::span<std::byte> bytes, std::size_t offset, const Value& value) {
  PINION_ASSERT(offset + sizeof(Value) <= bytes.size());
  std::memcpy(bytes.data() + offset, &value, sizeof(Value));
}

Status check_buffers(const KernelCall& call, std::size_t argument_bytes,
                     KernelSizes (*sizes)(std::uint64_t)) {
  if (call.buffers.size() < 2 || call.arguments.size() != argument_bytes) {
    return Status(ErrorCode::kInvalidArgument,
                  "the kernel was given " + std::to_string(call.buffers.size()) + " buffers and " +
                      std::to_string(call.arguments.size()) +
                      " bytes of arguments; it takes an input, an output, and " +
                      std::to_string(argument_bytes) + " bytes");
  }
  const std::uint64_t needed = sizes(call.buffers[0].size()).output_bytes;
  if (call.buffers[1].size() < needed) {
    return Status(ErrorCode::kInvalidArgument,
                  "the output has " + std::to_string(call.buffers[1].size()) +
                      " bytes; the kernel writes " + std::to_string(needed));
  }
  return {};
}

Status map_scale_f64_on_cpu(const KernelCall& call) {
  PINION_RETURN_IF_ERROR(check_buffers(call, sizeof(MapScaleF64), map_scale_f64_sizes));
  const auto scale = read<MapScaleF64>(call.arguments, 0);
  const std::span<const std::byte> input = call.buffers[0];
  for (std::size_t i = 0; i < input.size() / sizeof(double); ++i) {
    write(call.buffers[1], i * sizeof(double),
          read<double>(input, i) * scale.factor + scale.offset);
  }
  return {};
}

Status reduce_sum_f64_on_cpu(const KernelCall& call) {
  PINION_RETURN_IF_ERROR(check_buffers(call, 0, reduce_sum_f64_sizes));
  const std::span<const std::byte> input = call.buffers[0];
  double sum = 0.0;
  for (std::size_t i = 0; i < input.size() / sizeof(double); ++i) {
    sum += read<double>(input, i);
  }
  write(call.buffers[1], 0, sum);
  return {};
}

Status histogram_u8_on_cpu(const KernelCall& call) {
  PINION_RETURN_IF_ERROR(check_buffers(call, 0, histogram_u8_sizes));
  std::array<std::uint64_t, 256> counts = {};
  for (const std::byte value : call.buffers[0]) {
    ++counts[std::to_integer<std::size_t>(value)];
  }
  write(call.buffers[1], 0, counts);
  return {};
}

Status keyed_sum_u32_f64_on_cpu(const KernelCall& call) {
  PINION_RETURN_IF_ERROR(check_buffers(call, 0, keyed_sum_u32_f64_sizes));
  const std::span<const std::byte> input = call.buffers[0];
  std::map<std::uint32_t, double> sums;
  for (std::size_t i = 0; i < input.size() / sizeof(KeyedF64); ++i) {
    const auto record = read<KeyedF64>(input, i);
    sums[record.key] += record.value;
  }
  write(call.buffers[1], 0, KeyedSumHead{.key_count = sums.size()});
  std::size_t offset = sizeof(KeyedSumHead);
  for (const auto& [key, sum] : sums) {
    write(call.buffers[1], offset, KeyedF64{.key = key, .value = sum});
    offset += sizeof(KeyedF64);
  }
  return {};
}

DeviceKernel kernel_of(std::string_view name, KernelSizes (*sizes)(std::uint64_t),
                       std::uint64_t cut_bytes) {
  return {.name = std::string(name), .sizes = sizes, .cut_bytes = cut_bytes, .takes_batches = true};
}

}  // namespace

DeviceKernel map_scale_f64(MapScaleF64 arguments) {
  DeviceKernel kernel = kernel_of(kMapScaleF64, map_scale_f64_sizes, sizeof(double));
  const auto bytes = std::as_bytes(std::span(&arguments, 1));
  kernel.arguments.assign(bytes.begin(), bytes.end());
  return kernel;
}

DeviceKernel reduce_sum_f64() {
  return kernel_of(kReduceSumF64, reduce_sum_f64_sizes, sizeof(double));
}

DeviceKernel histogram_u8() {
  return kernel_of(kHistogramU8, histogram_u8_sizes, 1);
}

DeviceKernel keyed_sum_u32_f64() {
  return kernel_of(kKeyedSumU32F64, keyed_sum_u32_f64_sizes, sizeof(KeyedF64));
}

Status add_pinion_kernels(KernelRegistry& kernels) {
  const auto add = [&kernels](std::string_view name, KernelBody twin) {
    return kernels.add(std::string(name), {.body = for_each_shard(std::move(twin)),
                                           .cost = {.bytes_per_second = kBytesPerSecond},
                                           .takes_batches = true});
  };
  PINION_RETURN_IF_ERROR(add(kMapScaleF64, map_scale_f64_on_cpu));
  PINION_RETURN_IF_ERROR(add(kReduceSumF64, reduce_sum_f64_on_cpu));
  PINION_RETURN_IF_ERROR(add(kHistogramU8, histogram_u8_on_cpu));
  return add(kKeyedSumU32F64, keyed_sum_u32_f64_on_cpu);
}

}  // namespace pinion
