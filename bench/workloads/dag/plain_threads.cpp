// The same bodies without any edge, an equal part for each thread: what no engine can be faster
// than.

#include "dag/plain_threads.hpp"

int main(int argc, char** argv) {
  return pinion::bench::run_contest<pinion::bench::PlainThreads</*kShared=*/false>>(
      PINION_BENCH_CONTENDER, argc, argv);
}
