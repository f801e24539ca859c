// A job one rank of which is slow: the bodies of SHARDS shards sleep for MILLISECONDS, those of
// rank 1 SLOWDOWN times as long, so that how the work is shared out is all that is measured. Prints
// the seconds from the first body to the end of the step as JSON.
//
//   pinion run -n 2 slow_rank_program SHARDS MILLISECONDS SLOWDOWN

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <pinion/pinion.hpp>

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
  const pinion::Status done = pinion::for_each_shard(
      *job, pinion::indices(std::strtoull(argv[1], nullptr, 10)), pinion::by_index_range(1),
      [&](const pinion::Shard&) { std::this_thread::sleep_for(body * slowdown); });
  if (!done.ok()) {
    return pinion::report(done);
  }
  const double seconds = std::chrono::duration<double>(clock.now() - begin).count();
  return pinion::report(job->once([seconds] { std::printf("{\"seconds\": %.6f}\n", seconds); }));
}
