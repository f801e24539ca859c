#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <pinion/core/shard_devices.hpp>
#include <pinion/core/status.hpp>
#include <pinion/gpu/kernel_registry.hpp>

namespace pinion {

// The kernels that Pinion brings along, by name. Each is launched with three buffers, the input,
// the output and the scratch memory, or with those of several shards, three for each. All of these
// hold for each of them:
//
//  - Numbers are in the byte order of the machine. Buffers begin at multiples of 256 bytes.
//  - Bytes of the input behind its last whole number or record are left out.
//  - The output is written whole, whatever was in it before. It is as large as the kernel's
//  function
//    below says, and the scratch memory is at least so large.
//  - Nothing is allocated, and no input is an error, also no bytes at all.
//  - Sums of floating point are taken in any order, so their last bits may differ from run to run.

/// Each number of the input, doubles, times `factor` plus `offset`, in the same place of the
/// output. Takes MapScaleF64 as arguments.
inline constexpr std::string_view kMapScaleF64 = "pinion.map_scale_f64";

/// The sum of the input, doubles, as one double.
inline constexpr std::string_view kReduceSumF64 = "pinion.reduce_sum_f64";

/// How often each value of a byte is in the input: 256 numbers of type uint64.
inline constexpr std::string_view kHistogramU8 = "pinion.histogram_u8";

/// The sum of the values of each key. The input is KeyedF64 records; the output is a KeyedSumHead,
/// and behind it a KeyedF64 for each key, ascending by key. What follows those is undefined.
inline constexpr std::string_view kKeyedSumU32F64 = "pinion.keyed_sum_u32_f64";

/// The arguments of kMapScaleF64; the other kernels take none.
struct MapScaleF64 {
  double factor = 1.0;
  double offset = 0.0;
};
static_assert(sizeof(MapScaleF64) == 16);

/// A record of the input of kKeyedSumU32F64 and of its output.
struct KeyedF64 {
  std::uint32_t key = 0;
  std::uint32_t unused = 0;  ///< Whatever it is in the input; 0 in the output.
  double value = 0.0;
};
static_assert(sizeof(KeyedF64) == 16);

/// What the output of kKeyedSumU32F64 begins with.
struct KeyedSumHead {
  std::uint64_t key_count = 0;
  std::uint64_t unused = 0;  ///< 0.
};
static_assert(sizeof(KeyedSumHead) == 16);

// What each kernel writes and needs beside an input of `input_bytes`.

[[nodiscard]] constexpr KernelSizes map_scale_f64_sizes(std::uint64_t input_bytes) noexcept {
  return {.output_bytes = input_bytes / sizeof(double) * sizeof(double)};
}

[[nodiscard]] constexpr KernelSizes reduce_sum_f64_sizes(std::uint64_t) noexcept {
  return {.output_bytes = sizeof(double), .scratch_bytes = std::uint64_t{1} << 20};
}

[[nodiscard]] constexpr KernelSizes histogram_u8_sizes(std::uint64_t) noexcept {
  return {.output_bytes = 256 * sizeof(std::uint64_t), .scratch_bytes = std::uint64_t{1} << 20};
}

/// Keys and values in columns, twice, and as much again for whoever sorts them.
[[nodiscard]] constexpr KernelSizes keyed_sum_u32_f64_sizes(std::uint64_t input_bytes) noexcept {
  const std::uint64_t records_bytes = input_bytes / sizeof(KeyedF64) * sizeof(KeyedF64);
  return {.output_bytes = sizeof(KeyedSumHead) + records_bytes,
          .scratch_bytes = 2 * records_bytes + (std::uint64_t{4} << 20)};
}

/// The kernels as bodies of steps take them: on_gpu(body, histogram_u8(), finish).
[[nodiscard]] DeviceKernel map_scale_f64(MapScaleF64 arguments);
[[nodiscard]] DeviceKernel reduce_sum_f64();
[[nodiscard]] DeviceKernel histogram_u8();
[[nodiscard]] DeviceKernel keyed_sum_u32_f64();

/// Adds the CPU twins of all of these. They need no scratch memory.
/// Errors: kAlreadyExists when one of the names is taken.
[[nodiscard]] Status add_pinion_kernels(KernelRegistry& kernels);

}  // namespace pinion
