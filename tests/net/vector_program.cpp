// Adds a vector of LENGTH elements in each of SHARDS shards, so that every batch has a partial of
// one partition, and prints the sum of its elements.
//
//   vector_program SHARDS LENGTH

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 3) {
    std::fputs("usage: vector_program SHARDS LENGTH\n", stderr);
    return 64;
  }
  const std::uint64_t shard_count = std::strtoull(argv[1], nullptr, 10);
  std::vector<std::uint64_t> values(std::strtoull(argv[2], nullptr, 10));
  std::iota(values.begin(), values.end(), std::uint64_t{1});
  auto sums = pinion::map_reduce(
      job, pinion::indices(shard_count), pinion::by_index_range(1),
      [&values](const pinion::Shard&, auto& emit) { emit.add(values); },
      pinion::sum_vector<std::uint64_t>(values.size()));
  std::uint64_t total = 0;
  for (const std::uint64_t value : sums->values()) {
    total += value;
  }
  const pinion::Status printed =
      job->once([total] { std::printf("%llu\n", static_cast<unsigned long long>(total)); });
  return pinion::report(printed);
}
