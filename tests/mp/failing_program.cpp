// Adds up 0 to 999 in ten shards, in one of several unlucky ways:
//   throws-always  the body of shard 3 throws, each time
//   throws-once    half of the bodies throw after half of their emits, the first time
//   throws-two     the bodies of shards 3 and 7 throw, each time
//   dies           the body of shard 3 ends its process; no body goes on before there is one in
//                  every rank, so that all know what shards there are
//   differs        rank 1 adds up 0 to 1999; no body ends before the other rank has seen it fail
// A rank that sees the step fail writes what it was told to DIR/error.<rank> and waits, at most a
// minute for each, until all others have done so, before it ends as that error says.
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

void wait_for(const std::string& path) {
  for (int round = 0; round < 6000 && access(path.c_str(), F_OK) != 0; ++round) {
    poll(nullptr, 0, 10);
  }
}

// Of each rank.
void wait_for_all(const std::string& path, std::uint32_t rank_count) {
  for (std::uint32_t rank = 0; rank < rank_count; ++rank) {
    wait_for(path + std::to_string(rank));
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
  const std::string folder = argv[2];
  const std::string error_of_other = folder + "/error." + std::to_string(1 - job->rank() % 2);
  const std::uint64_t index_count = way == "differs" && job->rank() == 1 ? 2000 : 1000;
  auto sum = pinion::map_reduce(
      job, pinion::indices(index_count), pinion::by_index_range(100),
      [&](const pinion::Shard& shard, auto& emit) {
        if (way == "differs") {
          wait_for(error_of_other);
        }
        if (way == "dies") {
          std::ofstream(folder + "/begun." + std::to_string(job->rank())).put('.');
          wait_for_all(folder + "/begun.", job->rank_count());
        }
        const std::uint64_t middle = shard.begin() + (shard.end() - shard.begin()) / 2;
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          emit(0, i);
          if (i == middle && way == "throws-always" && shard.id() == 3) {
            throw std::runtime_error("the crystal is cracked");
          }
          if (i == middle && way == "throws-two" && shard.id() % 4 == 3) {
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
    write_whole(folder + "/error." + std::to_string(job->rank()), sum.error().to_string());
    wait_for_all(folder + "/error.", job->rank_count());
  }
  const auto answer = static_cast<unsigned long long>(sum->values()[0]);
  const pinion::Status printed = job->once([answer] { std::printf("the sum is %llu\n", answer); });
  return pinion::report(printed);
}
