// As transfer_pinion, with UCX by hand. Both sides poll.
//
//   transfer_ucx DEVICE IP               serves there until its input ends; prints its port
//   transfer_ucx DEVICE IP PORT [new]    measures against the one that serves there

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include <pinion/core/clock.hpp>

#include "raw_ucx.hpp"
#include "transfer.hpp"

namespace pinion::bench {
namespace {

int serve(const char* device, const char* ip) {
  const FreshMemory source(kSourceBytes);
  fill_source(source.bytes());
  RawOwner owner(device, ip);
  owner.set_source(source.bytes());
  std::printf("%u\n", unsigned{owner.port()});
  std::fflush(stdout);
  // It looks at its input so seldom that this costs nothing.
  constexpr int kTurns = 10'000;
  pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  while (::poll(&input, 1, 0) == 0) {
    for (int turn = 0; turn < kTurns; ++turn) {
      owner.progress();
    }
  }
  return 0;
}

int measure(const char* device, const char* ip, const char* port, bool new_memory) {
  RawPuller puller(device, ip, static_cast<std::uint16_t>(std::atoi(port)));
  const SystemClock clock;
  std::printf("request");
  for (std::size_t i = 0; i < kRequestCount; ++i) {
    const Instant begin = clock.now();
    puller.ping();
    const std::chrono::duration<double, std::micro> time = clock.now() - begin;
    std::printf(" %.3f", time.count());
  }
  std::printf("\n");
  for (const Transfer& transfer : kTransfers) {
    Rounds rounds(transfer, new_memory);
    while (const FreshMemory* const memory = rounds.begin()) {
      std::vector<std::span<std::byte>> parts;
      for (std::size_t i = 0; i < transfer.at_once; ++i) {
        parts.push_back(memory->part(transfer, i));
      }
      puller.pull(parts);
      rounds.end();
    }
  }
  return 0;
}

}  // namespace
}  // namespace pinion::bench

int main(int count, char** arguments) {
  switch (count) {
    case 3:
      return pinion::bench::serve(arguments[1], arguments[2]);
    case 4:
    case 5:
      return pinion::bench::measure(arguments[1], arguments[2], arguments[3],
                                    pinion::bench::wants_new_memory(count, arguments));
    default:
      std::fputs("usage: transfer_ucx DEVICE IP [PORT [new]]\n", stderr);
      return 64;
  }
}
