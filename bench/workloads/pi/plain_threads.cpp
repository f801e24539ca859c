// Pi from hashed samples on plain threads: each takes an equal range and keeps its count to itself.

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

#include "harness.hpp"
#include "pi/samples.hpp"

namespace {

using pinion::bench::count_inside;

pinion::bench::Repetition run(const pinion::bench::Options& options) {
  const pinion::bench::Stopwatch watch;
  std::vector<std::uint64_t> inside(options.workers);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < options.workers; ++i) {
    threads.emplace_back([&options, &inside, i] {
      const auto bound = [&options](std::size_t part) {
        return options.size / options.workers * part +
               options.size % options.workers * part / options.workers;
      };
      inside[i] = count_inside(bound(i), bound(i + 1));
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const std::uint64_t total = std::accumulate(inside.begin(), inside.end(), std::uint64_t{0});
  return {.time = watch.elapsed(), .rows = options.size, .checksum = total};
}

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_program({PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER, false}, argc,
                                    argv, run);
}
