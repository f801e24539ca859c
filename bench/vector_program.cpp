// Adds a vector of LENGTH numbers in each of 4 shards a rank, ROUNDS times, and prints as JSON what
// each round took, from before the step until rank 0 has the sum.
//
//   pinion run --host a,b,c,d vector_program LENGTH ROUNDS

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 3) {
    std::fputs("usage: pinion run --host a,b,c,d vector_program LENGTH ROUNDS\n", stderr);
    return 64;
  }
  if (!job) {
    return pinion::report(job.error());
  }
  const std::vector<double> values(std::strtoull(argv[1], nullptr, 10), 1.0);
  const std::uint64_t round_count = std::strtoull(argv[2], nullptr, 10);
  const std::uint64_t shard_count = 4 * std::uint64_t{job->rank_count()};
  const pinion::SystemClock clock;
  std::string seconds;
  for (std::uint64_t round = 0; round < round_count; ++round) {
    const pinion::Instant begin = clock.now();
    const auto sum = pinion::map_reduce(
        job, pinion::indices(shard_count), pinion::by_index_range(1),
        [&values](const pinion::Shard&, auto& emit) { emit.add(values); },
        pinion::sum_vector<double>(values.size()));
    if (!sum) {
      return pinion::report(sum.error());
    }
    const std::chrono::duration<double> taken = clock.now() - begin;
    const auto is_right = [&](double value) { return value == static_cast<double>(shard_count); };
    if (!std::all_of(sum->values().begin(), sum->values().end(), is_right)) {
      return pinion::report(pinion::Status(pinion::ErrorCode::kDataLoss, "the sum is not right"));
    }
    seconds += (seconds.empty() ? "" : ", ") + std::to_string(taken.count());
  }
  const pinion::Status printed = job->once([&] { std::printf("[%s]\n", seconds.c_str()); });
  return pinion::report(printed);
}
