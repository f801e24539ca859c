// Sums values by key over rows that are made on the spot, --size bytes of them: a job whose input
// exists nowhere as a whole, and must not need more memory when there is more of it.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <pinion/pinion.hpp>

#include "checksums.hpp"
#include "harness.hpp"
#include "job.hpp"

namespace {

constexpr std::uint64_t kRowBytes = sizeof(std::uint32_t) + sizeof(double);
constexpr std::uint64_t kKeys = 1'000'000;
constexpr std::uint64_t kShardRows = std::uint64_t{1} << 20;
// Rows that are made at once; they stay in the cache of a core.
constexpr std::size_t kRun = 8192;
// The values repeat after so many rows: 0, 1/256, 2/256, ... Their sums are exact in any order.
constexpr std::uint64_t kValues = 256;

std::uint32_t key_of(std::uint64_t row) {
  return static_cast<std::uint32_t>(((pinion::bench::mix64(row) >> 32) * kKeys) >> 32);
}

template <class Emit>
void emit_rows(const pinion::Shard& shard, Emit& emit) {
  std::vector<std::uint32_t> keys(kRun);
  std::vector<double> values(kRun);
  for (std::uint64_t begin = shard.begin(); begin < shard.end(); begin += kRun) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kRun, shard.end() - begin));
    for (std::size_t i = 0; i < count; ++i) {
      keys[i] = key_of(begin + i);
      values[i] = static_cast<double>((begin + i) % kValues) / kValues;
    }
    emit(std::span<const std::uint32_t>(keys.data(), count),
         std::span<const double>(values.data(), count));
  }
}

// The sum of the values of all rows, for a number of rows that kValues divides.
double total_of(std::uint64_t rows) {
  return static_cast<double>(rows / kValues) * ((kValues - 1) / 2.0);
}

pinion::bench::Repetition run(pinion::Job& job, const pinion::bench::Options& options) {
  const std::uint64_t rows = options.size / kRowBytes / kValues * kValues;
  const pinion::bench::Stopwatch watch;
  auto sums = pinion::map_reduce(
      job, pinion::indices(rows), pinion::by_index_range(kShardRows),
      [](const pinion::Shard& shard, auto& emit) { emit_rows(shard, emit); },
      pinion::sum_by_key<std::uint32_t, double>());
  pinion::bench::Repetition repetition = {.time = watch.elapsed(), .rows = rows};
  double total = 0;
  for (const auto& [key, sum] : *sums) {
    repetition.checksum += pinion::bench::group_part(key, sum);
    total += sum;
  }
  if (total != total_of(rows)) {
    throw std::runtime_error("the sums add up to " + std::to_string(total) + ", not to " +
                             std::to_string(total_of(rows)));
  }
  return repetition;
}

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_job({PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER, false}, argc, argv,
                                run);
}
