// A stranger who links the whole library and runs a job of one rank.
#include <cinttypes>
#include <cstdint>
#include <cstdio>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  auto sum = pinion::map_reduce(
      job, pinion::indices(42), pinion::by_index_range(5),
      [](const pinion::Shard& shard, auto& emit) { emit(0, shard.end() - shard.begin()); },
      pinion::sum_vector<std::uint64_t>(1));
  const std::uint64_t answer = sum->values()[0];
  const pinion::Status said =
      job->once([&] { std::printf("the stranger's answer is %" PRIu64 "\n", answer); });
  return pinion::report(said);
}
