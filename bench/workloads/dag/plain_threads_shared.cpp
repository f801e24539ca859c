// The same bodies without any edge, but with lines of the cache that several threads write, a call
// and an atomic operation for each task: what of the distance to plain_threads is not the engine's.

#include "dag/plain_threads.hpp"

int main(int argc, char** argv) {
  return pinion::bench::run_contest<pinion::bench::PlainThreads</*kShared=*/true>>(
      PINION_BENCH_CONTENDER, argc, argv);
}
