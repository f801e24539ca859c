// Pi from hashed samples, as a user of Pinion writes it.

#include <cstdint>

#include <pinion/pinion.hpp>

#include "harness.hpp"
#include "job.hpp"
#include "pi/samples.hpp"

namespace {

pinion::bench::Repetition run(pinion::Job& job, const pinion::bench::Options& options) {
  const pinion::bench::Stopwatch watch;
  auto inside = pinion::map_reduce(
      job, pinion::indices(options.size),
      pinion::by_index_range(options.size / (options.workers * 16) + 1),
      [](const pinion::Shard& shard, auto& emit) {
        emit(0, pinion::bench::count_inside(shard.begin(), shard.end()));
      },
      pinion::sum_vector<std::uint64_t>(1));
  return {.time = watch.elapsed(), .rows = options.size, .checksum = inside->values()[0]};
}

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_job({PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER, false}, argc, argv,
                                run);
}
