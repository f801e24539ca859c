// Two sums over 64 shards, on two ranks. Rank 1 drains itself in its first body; until then no body
// of rank 0 ends.
//
//   drain_program DIR

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <pinion/pinion.hpp>

namespace {

void touch(const std::string& path) {
  close(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

void wait_for(const std::string& path) {
  for (int round = 0; round < 6000 && access(path.c_str(), F_OK) != 0; ++round) {
    poll(nullptr, 0, 10);
  }
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 2) {
    std::fputs("usage: drain_program DIR\n", stderr);
    return 64;
  }
  const std::string drained = argv[1] + std::string("/drained");
  const auto sum = [&] {
    return pinion::map_reduce(
        job, pinion::indices(64), pinion::by_index_range(1),
        [&](const pinion::Shard& shard, auto& emit) {
          if (job->rank() == 0) {
            wait_for(drained);
          } else {
            if (!job->drain("the node is wanted").ok()) {
              std::abort();
            }
            touch(drained);
          }
          emit(0, shard.begin());
        },
        pinion::sum_vector<std::uint64_t>(1));
  };
  const auto first = sum();
  const auto second = sum();
  if (!first || !second) {
    return pinion::report(first ? second.error() : first.error());
  }
  std::fprintf(stderr, "rank %u has %lu and %lu\n", job->rank(), first->values()[0],
               second->values()[0]);
  return pinion::report(job->once(
      [&] { std::printf("the sums are %lu and %lu\n", first->values()[0], second->values()[0]); }));
}
