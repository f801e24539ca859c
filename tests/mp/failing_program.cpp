// Adds up 0 to 999 in ten shards, in one of several unlucky ways:
//   throws-always  the body of shard 3 throws, each time
//   throws-once    half of the bodies throw after half of their emits, the first time
//   dies           the body of shard 3 ends its process
//   differs        rank 1 adds up 0 to 1999
// A rank that sees the step fail writes what it was told to DIR/error.<rank> and waits, at most a
// minute, until the other rank has done so, before it ends as that error says.
//
//   failing_program WAY DIR

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include <pinion/pinion.hpp>

namespace {

void write_whole(const std::string& path, const std::string& text) {
  std::ofstream(path + ".part") << text;
  std::filesystem::rename(path + ".part", path);
}

void tell_and_wait(const pinion::Job& job, const std::string& folder, const pinion::Status& error) {
  write_whole(folder + "/error." + std::to_string(job.rank()), error.to_string());
  for (std::uint32_t rank = 0; rank < job.rank_count(); ++rank) {
    const std::string other = folder + "/error." + std::to_string(rank);
    for (int round = 0; round < 6000 && access(other.c_str(), F_OK) != 0; ++round) {
      poll(nullptr, 0, 10);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 3) {
    std::fputs("usage: failing_program WAY DIR\n", stderr);
    return 64;
  }
  const std::string way = argv[1];
  const std::uint64_t index_count = way == "differs" && job->rank() == 1 ? 2000 : 1000;
  auto sum = pinion::map_reduce(
      job, pinion::indices(index_count), pinion::by_index_range(100),
      [&way](const pinion::Shard& shard, auto& emit) {
        const std::uint64_t middle = shard.begin() + (shard.end() - shard.begin()) / 2;
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          emit(0, i);
          if (i == middle && way == "throws-always" && shard.id() == 3) {
            throw std::runtime_error("the crystal is cracked");
          }
          if (i == middle && way == "throws-once" && shard.id() % 2 == 1 && shard.attempt() == 1) {
            throw std::runtime_error("the first time never works");
          }
          if (i == middle && way == "dies" && shard.id() == 3) {
            raise(SIGKILL);
          }
        }
      },
      pinion::sum_vector<std::uint64_t>(1));
  if (!sum) {
    tell_and_wait(*job, argv[2], sum.error());
  }
  const auto answer = static_cast<unsigned long long>(sum->values()[0]);
  const pinion::Status printed = job->once([answer] { std::printf("the sum is %llu\n", answer); });
  return printed.ok() ? 0 : 1;
}
