// Sums values by key over two columns, as a user of Pinion writes it.

#include <cstddef>
#include <cstdint>
#include <span>

#include <pinion/pinion.hpp>

#include "checksums.hpp"
#include "group_by/columns.hpp"
#include "harness.hpp"
#include "job.hpp"

namespace {

using pinion::bench::Columns;

// What the job does with the rows of one shard.
template <class Emit>
void emit_rows(const Columns& columns, const pinion::Shard& shard, Emit& emit) {
  const std::size_t count = shard.end() - shard.begin();
  emit(std::span(columns.keys() + shard.begin(), count),
       std::span(columns.values() + shard.begin(), count));
}

pinion::bench::Repetition run(pinion::Job& job, const pinion::bench::Options& options) {
  const pinion::bench::Stopwatch watch;
  const Columns columns(options.paths.at(0));
  auto sums = pinion::map_reduce(
      job, pinion::indices(columns.rows()),
      pinion::by_index_range(columns.rows() / (options.workers * 16) + 1),
      [&columns](const pinion::Shard& shard, auto& emit) { emit_rows(columns, shard, emit); },
      pinion::sum_by_key<std::uint32_t, double>());
  constexpr std::uint64_t kRowBytes = sizeof(std::uint32_t) + sizeof(double);
  pinion::bench::Repetition repetition = {
      .time = watch.elapsed(),
      .rows = columns.rows(),
      .mapped_bytes = columns.rows() * kRowBytes,
      .memory_bytes_max = sums->size() * kRowBytes + pinion::bench::kOtherMemoryBytes};
  for (const auto& [key, sum] : *sums) {
    repetition.checksum += pinion::bench::group_part(key, sum);
  }
  return repetition;
}

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_job({PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER}, argc, argv, run);
}
