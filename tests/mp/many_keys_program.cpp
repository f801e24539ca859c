// Emits each of KEYS keys once in each of SHARDS shards, so that every batch has a partial of all
// keys, and prints how many keys there are and the sum of their values.
//
//   many_keys_program SHARDS KEYS

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 3) {
    std::fputs("usage: many_keys_program SHARDS KEYS\n", stderr);
    return 64;
  }
  const std::uint64_t shard_count = std::strtoull(argv[1], nullptr, 10);
  const std::uint64_t key_count = std::strtoull(argv[2], nullptr, 10);
  auto sums = pinion::map_reduce(
      job, pinion::indices(shard_count), pinion::by_index_range(1),
      [key_count](const pinion::Shard&, auto& emit) {
        for (std::uint64_t key = 0; key < key_count; ++key) {
          emit(key, key + 1);
        }
      },
      pinion::sum_by_key<std::uint64_t, std::uint64_t>());
  std::uint64_t total = 0;
  for (const auto& [key, sum] : *sums) {
    total += sum;
  }
  const std::uint64_t found_count = sums->size();
  const pinion::Status printed = job->once([found_count, total] {
    std::printf("%llu keys, sum %llu\n", static_cast<unsigned long long>(found_count),
                static_cast<unsigned long long>(total));
  });
  return pinion::report(printed);
}
