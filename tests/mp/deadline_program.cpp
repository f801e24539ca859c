// Adds up 0 to 63, one shard each; a shard has failed two seconds after its grant. The first
// attempts of shard 5 hang until the file DIR/gate exists, or a minute has passed.
//
//   deadline_program DIR

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 2) {
    std::fputs("usage: deadline_program DIR\n", stderr);
    return 64;
  }
  const std::string gate = argv[1] + std::string("/gate");
  const auto sum = pinion::map_reduce(
      job, pinion::indices(64), pinion::by_index_range(1).within(std::chrono::seconds(2)),
      [&](const pinion::Shard& shard, auto& emit) {
        const bool hangs = shard.id() == 5 && shard.attempt() == 1;
        for (int round = 0; hangs && round < 6000 && access(gate.c_str(), F_OK) != 0; ++round) {
          poll(nullptr, 0, 10);
        }
        emit(0, shard.begin());
      },
      pinion::sum_vector<std::uint64_t>(1));
  if (!sum) {
    return pinion::report(sum.error());
  }
  std::printf("rank %u has %lu\n", job->rank(), sum->values()[0]);
  std::fflush(stdout);
  return 0;
}
