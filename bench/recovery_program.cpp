// How long it takes from the death of a rank until a shard that it held is begun on the other one.
// A job of two ranks and STEPS steps of two shards: rank 1 kills itself in its shard once rank 0
// has nothing left to do, and is started again for the next step. Both look at the clock of the
// host. What they see is in FILE, which is made; rank 0 prints the nanoseconds of every death as
// JSON.
//
//   pinion run -n 2 --on-failure respawn:1000 recovery_program STEPS FILE

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include <pinion/pinion.hpp>

namespace {

struct Death {
  std::atomic<bool> victim_works;
  std::atomic<std::int64_t> died_at_ns;
  std::atomic<std::int64_t> begun_again_at_ns;
};

std::int64_t now_ns() {
  return std::chrono::nanoseconds(pinion::SystemClock().now().time_since_epoch()).count();
}

std::span<Death> map_deaths(const char* path, std::size_t count) {
  const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const std::size_t size = count * sizeof(Death);
  if (file < 0 || ftruncate(file, static_cast<off_t>(size)) != 0) {
    std::perror(path);
    std::exit(1);
  }
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) {
    std::perror(path);
    std::exit(1);
  }
  return {static_cast<Death*>(memory), count};
}

void wait_for(const std::atomic<bool>& flag) {
  for (int round = 0; round < 5000 && !flag; ++round) {
    poll(nullptr, 0, 1);
  }
}

void die(Death& death) {
  death.victim_works = true;
  poll(nullptr, 0, 5);  // Until the other has reported its shard and waits for another.
  death.died_at_ns = now_ns();
  raise(SIGKILL);
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 3) {
    std::fputs("usage: pinion run -n 2 recovery_program STEPS FILE\n", stderr);
    return 64;
  }
  const std::span<Death> deaths = map_deaths(argv[2], std::strtoul(argv[1], nullptr, 10));
  const bool is_victim = job->rank() == 1;
  for (Death& death : deaths) {
    const pinion::Status status =
        pinion::for_each_shard(*job, pinion::indices(2), pinion::by_index_range(1),
                               [&death, is_victim](const pinion::Shard&) {
                                 if (death.died_at_ns != 0) {
                                   death.begun_again_at_ns = now_ns();
                                 } else if (is_victim) {
                                   die(death);
                                 } else {
                                   wait_for(death.victim_works);
                                 }
                               });
    if (!status.ok()) {
      return pinion::report(status);
    }
  }
  return pinion::report(job->once([deaths] {
    const char* separator = "{\"nanoseconds\": [";
    for (const Death& death : deaths) {
      if (death.begun_again_at_ns != 0) {
        std::printf("%s%" PRId64, separator, death.begun_again_at_ns - death.died_at_ns);
        separator = ", ";
      }
    }
    std::puts("]}");
  }));
}
