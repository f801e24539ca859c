// Counts the words of PATH, without the help of RANK, which, in one of several ways, is not there:
//   exits-0     it ends well without joining the job
//   exits-3     it ends with status 3 without joining the job
//   sleeps      it neither joins nor ends
//   joins-late  it joins, and enters the first step only once the file GATE exists
//
//   absent_program RANK WAY GATE PATH

#include <poll.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <pinion/pinion.hpp>

namespace {

bool is_rank(const std::string& wanted) {
  const char* const rank = std::getenv("PINION_RANK");
  return rank != nullptr && wanted == rank;
}

void wait_for(const std::string& path) {
  for (int round = 0; round < 6000 && access(path.c_str(), F_OK) != 0; ++round) {
    poll(nullptr, 0, 10);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: absent_program RANK WAY GATE PATH\n", stderr);
    return 64;
  }
  const bool absent = is_rank(argv[1]);
  const std::string way = argv[2];
  if (absent && way == "exits-0") {
    return 0;
  }
  if (absent && way == "exits-3") {
    return 3;
  }
  while (absent && way == "sleeps") {
    pause();
  }
  auto job = pinion::Job::create(argc, argv);
  if (absent && way == "joins-late") {
    wait_for(argv[3]);
  }
  auto counts = pinion::map_reduce(
      job, pinion::files({argv[4]}), pinion::by_bytes(100, pinion::align_to_line),
      [](const pinion::Shard& shard, auto& emit) {
        for (std::string_view word : pinion::words(shard.text())) {
          emit(word, 1);
        }
      },
      pinion::sum_by_key<std::string_view, std::uint64_t>());
  const std::uint64_t total = counts->total();
  const pinion::Status printed = job->once([total] {
    std::printf("%" PRIu64 " words\n", total);
    std::fflush(stdout);
  });
  return pinion::report(printed);
}
