#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/bytes.hpp>

#include "pipeline_bed.hpp"

// How well the pipeline overlaps the three stages, in virtual time and to the nanosecond. No byte
// is moved, so that shards of 256 MiB cost nothing.

namespace pinion {
namespace {

using testing::PipelineBed;

constexpr std::size_t kShardCount = 64;

struct Rates {
  std::uint64_t in = 0;  // Bytes a nanosecond.
  std::uint64_t out = 0;
  std::uint64_t kernel_factor = 0;  // Nanoseconds a byte.
  std::uint64_t latency_ns = 0;
};

struct Stages {
  std::uint64_t in = 0;
  std::uint64_t kernel = 0;
  std::uint64_t out = 0;

  [[nodiscard]] std::uint64_t longest() const { return std::max({in, kernel, out}); }
};

Stages stages_of(std::uint64_t size_bytes, const Rates& rates) {
  return {.in = rates.latency_ns + (size_bytes + rates.in - 1) / rates.in,
          .kernel = rates.latency_ns + size_bytes * rates.kernel_factor,
          .out = rates.latency_ns + (size_bytes + rates.out - 1) / rates.out};
}

// When the last of the shards is out, if each stage does one shard at a time, in their order, and
// `depth` shards are on the device at once: what no schedule of that depth can better.
std::uint64_t best_total(const Stages& stages, std::size_t depth) {
  std::array<std::uint64_t, kShardCount> done = {};
  std::uint64_t in = 0;
  std::uint64_t kernel = 0;
  std::uint64_t out = 0;
  for (std::size_t shard = 0; shard < kShardCount; ++shard) {
    in = std::max(in, shard < depth ? 0 : done[shard - depth]) + stages.in;
    kernel = std::max(kernel, in) + stages.kernel;
    out = std::max(out, kernel) + stages.out;
    done[shard] = out;
  }
  return out;
}

std::uint64_t measured_total(std::uint64_t size_bytes, const Rates& rates, std::size_t depth) {
  const std::string spec = "emu:1,effects=none,mem=8g,pinned=8g,h2d=" + std::to_string(rates.in) +
                           "g,d2h=" + std::to_string(rates.out) +
                           "g,kern=" + std::to_string(rates.kernel_factor) +
                           "x,latency=" + std::to_string(rates.latency_ns) + "ns";
  PipelineBed bed(
      spec, {.staging_bytes = 4 * size_bytes, .memory_bytes = 4_GiB, .pipeline = {.depth = depth}});
  // Pages that nobody touches.
  const Pages input = Pages::map(size_bytes).value();
  const HostRegistration registration = bed.device().register_host(input.bytes()).value();
  const std::uint64_t total = bed.time_of(kShardCount, input.bytes().first(size_bytes), false);
  EXPECT_EQ(bed.pipeline().usage().zero_copy_count, kShardCount);
  bed.end_pipelines();
  return total;
}

TEST(PipelineOverlap, IsTheBestOfItsDepthForShardsOf64KiBTo256MiB) {
  const std::vector<Rates> all = {{.in = 1, .out = 1, .kernel_factor = 1},
                                  {.in = 4, .out = 4, .kernel_factor = 1},
                                  {.in = 1, .out = 4, .kernel_factor = 1},
                                  {.in = 2, .out = 1, .kernel_factor = 1},
                                  {.in = 1, .out = 1, .kernel_factor = 4},
                                  {.in = 25, .out = 25, .kernel_factor = 1, .latency_ns = 8000}};
  for (const Rates& rates : all) {
    for (std::uint64_t size_bytes = 64_KiB; size_bytes <= 256_MiB; size_bytes *= 4) {
      SCOPED_TRACE(format_bytes(size_bytes) + " in " + std::to_string(rates.in) + " out " +
                   std::to_string(rates.out) + " kernel " + std::to_string(rates.kernel_factor));
      const Stages stages = stages_of(size_bytes, rates);
      const std::uint64_t total = measured_total(size_bytes, rates, 3);
      EXPECT_EQ(total, best_total(stages, 3));
      // The first shard in and the last one out cannot overlap with anything.
      EXPECT_EQ(total,
                stages.in + stages.kernel + stages.out + (kShardCount - 1) * stages.longest());
      EXPECT_GE(static_cast<double>(kShardCount * stages.longest()),
                0.95 * static_cast<double>(total));
    }
  }
}

// Two shards are enough where one stage takes as long as the two others together, and not else.
TEST(PipelineOverlap, NeedsThreeShardsWhereTheStagesAreEven) {
  const Rates even = {.in = 1, .out = 1, .kernel_factor = 1};
  const Rates uneven = {.in = 2, .out = 2, .kernel_factor = 1};
  for (const auto& [rates, ratio] : {std::pair(even, 0.67), std::pair(uneven, 1.0)}) {
    const Stages stages = stages_of(1_MiB, rates);
    const std::uint64_t total = measured_total(1_MiB, rates, 2);
    EXPECT_EQ(total, best_total(stages, 2));
    EXPECT_NEAR(static_cast<double>(kShardCount * stages.longest()) / static_cast<double>(total),
                ratio, 0.03);
  }
  EXPECT_EQ(measured_total(1_MiB, even, 1), kShardCount * 3 * stages_of(1_MiB, even).in);
}

}  // namespace
}  // namespace pinion
