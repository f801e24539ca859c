// Adds up 0 to 63, one shard each, and lets a test watch and hold it: the file
// DIR/body.<rank>.<incarnation> appears when a body of that life of a rank begins; no body ends
// before the file DIR/gate exists, or a minute has passed. SIGUSR1 makes the file DIR/usr1.<rank>;
// the file DIR/fail.<rank> ends that rank with exit status 3 while a body of it waits.
// The answer is the first of LENGTH numbers, of which the others are 0.
//
//   gated_program DIR [LENGTH]

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <pinion/pinion.hpp>

namespace {

std::array<char, 4096> signal_file;  // A handler has no other way to its data.

void touch(const char* path) {
  const int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  close(file);
}

void handle_signal(int) {
  touch(signal_file.data());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: gated_program DIR [LENGTH]\n", stderr);
    return 64;
  }
  const std::string folder = argv[1];
  auto job = pinion::Job::create(argc, argv);  // Takes what is for Pinion out of the arguments.
  const std::size_t length = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const pinion::JobInfo info = job->info();
  std::snprintf(signal_file.data(), signal_file.size(), "%s/usr1.%u", folder.c_str(), info.rank);
  signal(SIGUSR1, handle_signal);
  const std::string gate = folder + "/gate";
  const std::string begun =
      folder + "/body." + std::to_string(info.rank) + "." + std::to_string(info.incarnation);
  const std::string fail = folder + "/fail." + std::to_string(info.rank);
  auto sum = pinion::map_reduce(
      job, pinion::indices(64), pinion::by_index_range(1),
      [&](const pinion::Shard& shard, auto& emit) {
        touch(begun.c_str());
        for (int round = 0; round < 6000 && access(gate.c_str(), F_OK) != 0; ++round) {
          if (access(fail.c_str(), F_OK) == 0) {
            _exit(3);
          }
          poll(nullptr, 0, 10);
        }
        emit(0, shard.begin());
      },
      pinion::sum_vector<std::uint64_t>(length));
  const auto answer = static_cast<unsigned long long>(sum->values()[0]);
  const pinion::Status printed = job->once([answer] {
    std::printf("the sum is %llu\n", answer);
    std::fflush(stdout);
  });
  return pinion::report(printed);
}
