#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/status.hpp>

namespace pinion::bench {

/// What a good engineer writes with CUDA and CUB for one job, on the first GPU: what Pinion is
/// measured against. Times are in seconds and the median of several.
namespace by_hand {

/// Bytes a second of one big copy. `on_device`: bytes read and bytes written.
struct CopyRates {
  double in = 0.0;
  double out = 0.0;
  double on_device = 0.0;
};
[[nodiscard]] Result<CopyRates> copy_rates(std::uint64_t size_bytes);

/// Pinned memory for the loop below; ends with the program.
[[nodiscard]] Result<std::span<std::byte>> pinned(std::uint64_t size_bytes);

/// Doubles, copied in, scaled and copied out, shard by shard, on three streams with three shards on
/// the device at once: the time of all. Both are pinned and as large as each other.
[[nodiscard]] Result<double> scale_loop(std::span<const std::byte> input,
                                        std::span<std::byte> output, std::uint64_t shard_bytes);

/// One run of a kernel over input that lies on the device, of many that follow each other; and what
/// it wrote, in the form of Pinion's kernel of that name.
struct Resident {
  double seconds = 0.0;
  std::vector<std::byte> output = {};
};
[[nodiscard]] Result<Resident> reduce_sum_f64(std::span<const std::byte> input, int rounds);
[[nodiscard]] Result<Resident> histogram_u8(std::span<const std::byte> input, int rounds);
[[nodiscard]] Result<Resident> keyed_sum_u32_f64(std::span<const std::byte> input, int rounds);

}  // namespace by_hand
}  // namespace pinion::bench
