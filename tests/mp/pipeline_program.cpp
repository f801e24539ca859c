// Two steps over KEYS keys without a gather between them. Each rank writes to FOLDER/rank-N.LIFE
// how many blobs it has mapped between the steps, and the most while a body of the second step ran;
// one prints the sum of the second step.
//
//   pipeline_program KEYS FOLDER [die]
//
// With `die` rank 1 kills itself between the steps, in its first life.

#include <csignal>

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <pinion/pinion.hpp>

namespace {

std::uint64_t count_mapped_blobs() {
  std::ifstream maps("/proc/self/maps");
  std::uint64_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += line.find("memfd:pinion-blob") != std::string::npos ? 1u : 0u;
  }
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc < 3) {
    std::fputs("usage: pipeline_program KEYS FOLDER [die]\n", stderr);
    return 64;
  }
  const std::uint64_t key_count = std::strtoull(argv[1], nullptr, 10);
  const bool dies = argc > 3 && job->rank() == 1 && job->info().incarnation == 1;
  const auto counts = pinion::map_reduce(
      job, pinion::indices(key_count), pinion::by_index_range(1 + key_count / 20),
      [](const pinion::Shard& shard, auto& emit) {
        for (std::uint64_t key = shard.begin(); key < shard.end(); ++key) {
          emit(key, key % 10);
        }
      },
      pinion::distributed(pinion::sum_by_key<std::uint64_t, std::uint64_t>()));
  const std::uint64_t between = counts ? count_mapped_blobs() : 0;
  if (dies) {
    std::raise(SIGKILL);
  }
  std::atomic<std::uint64_t> most = 0;
  const auto sums = pinion::map_reduce(
      job, pinion::partitions(*counts), pinion::by_partition(),
      [&](const pinion::Shard& shard, auto& emit) {
        most = std::max<std::uint64_t>(most, count_mapped_blobs());
        for (const auto& [key, value] : pinion::read_partition(*counts, shard)) {
          emit(value, key);
        }
      },
      pinion::sum_vector<std::uint64_t>(10));
  std::ofstream(std::string(argv[2]) + "/rank-" + std::to_string(job->rank()) + "." +
                std::to_string(job->info().incarnation))
      << between << " " << most << " " << counts->partition_count();
  return job->once([&] {
              for (const std::uint64_t sum : sums->values()) {
                std::printf("%" PRIu64 "\n", sum);
              }
            }).ok()
             ? 0
             : 1;
}
