// A job one rank of which is slow: the bodies of SHARDS shards sleep for MILLISECONDS, those of
// rank 1 SLOWDOWN times as long, so that how the work is shared out is all that is measured. Prints
// as JSON the seconds from the first body to the end of the step, and in how many all shards could
// be done by ranks whose bodies take as long as these did.
//
//   pinion run -n 2 slow_rank_program SHARDS MILLISECONDS SLOWDOWN

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <pinion/pinion.hpp>

namespace {

using Seconds = std::chrono::duration<double>;

// Of the work over the speed of all ranks. `times`: of each rank, its shards and their nanoseconds.
template <class Times>
double least_seconds(const Times& times) {
  double shard_count = 0;
  double shards_a_second = 0;
  for (std::size_t at = 0; at < times.size(); at += 2) {
    if (times[at] > 0) {
      const auto count = static_cast<double>(times[at]);
      shard_count += count;
      shards_a_second += count / Seconds(std::chrono::nanoseconds(times[at + 1])).count();
    }
  }
  return shard_count / shards_a_second;
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 4) {
    std::fputs("usage: slow_rank_program SHARDS MILLISECONDS SLOWDOWN\n", stderr);
    return 64;
  }
  const std::chrono::milliseconds body(std::atoi(argv[2]));
  const int slowdown = job->rank() == 1 ? std::atoi(argv[3]) : 1;
  // All are there when the time begins.
  const pinion::Status met = pinion::for_each_shard(
      *job, pinion::indices(job->rank_count()), pinion::by_index_range(1),
      [](const pinion::Shard&) { std::this_thread::sleep_for(std::chrono::milliseconds(200)); });
  if (!met.ok()) {
    return pinion::report(met);
  }
  const pinion::SystemClock clock;
  const pinion::Instant begin = clock.now();
  const auto times = pinion::map_reduce(
      *job, pinion::indices(std::strtoull(argv[1], nullptr, 10)), pinion::by_index_range(1),
      [&](const pinion::Shard&, auto& emit) {
        const pinion::Instant body_begin = clock.now();
        std::this_thread::sleep_for(body * slowdown);
        emit(2 * job->rank(), 1);
        emit(2 * job->rank() + 1, (clock.now() - body_begin).count());
      },
      pinion::sum_vector<std::int64_t>(2 * job->rank_count()));
  const double seconds = Seconds(clock.now() - begin).count();
  if (!times) {
    return pinion::report(times.error());
  }
  const double least = least_seconds(times->values());
  return pinion::report(job->once([seconds, least] {
    std::printf("{\"seconds\": %.6f, \"least_seconds\": %.6f}\n", seconds, least);
  }));
}
