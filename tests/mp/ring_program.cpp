// Rank 0 sends numbered messages to rank 1 through their ring, once rank 1 has greeted it; rank 1
// prints how many it took from each life of rank 0, in order. The first life of rank 0 sends
// FIRST_COUNT and is killed by itself, the next sends COUNT; FIRST_COUNT 0 kills nobody.
//
//   ring_program COUNT FIRST_COUNT

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include <pinion/runtime/version.hpp>

#include "agent_link.hpp"

namespace {

using pinion::RingEnd;
using pinion::RingMessage;

enum Kind : std::uint32_t { kGreeting = 1, kNumber = 2, kEnd = 3 };

// The other rank may be about to join.
RingEnd ring_with(pinion::AgentLink& link, std::uint32_t rank) {
  for (int round = 0; round < 6000; ++round) {
    auto ring = link.ring_with(rank);
    if (ring || ring.error().code() != pinion::ErrorCode::kUnavailable) {
      return std::move(*ring);
    }
    poll(nullptr, 0, 10);
  }
  std::abort();
}

pinion::Instant in_a_minute() {
  return pinion::SystemClock().now() + std::chrono::minutes(1);
}

void push(RingEnd& ring, const RingMessage& message) {
  while (!ring.try_push(message)) {
    if (const pinion::Status waited = ring.wait_for_space(in_a_minute()); !waited.ok()) {
      pinion::exit_with(waited);
    }
  }
}

void send_numbers(RingEnd& ring, std::uint64_t count) {
  if (const pinion::Status greeted = ring.wait_for_message(in_a_minute()); !greeted.ok()) {
    pinion::exit_with(greeted);
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    push(ring, {.kind = kNumber, .request = i});
  }
}

// Takes what one life of the other rank sends; false when it died before the end.
bool take_numbers(RingEnd ring) {
  push(ring, {.kind = kGreeting});
  std::uint64_t count = 0;
  RingMessage message;
  pinion::Status waited;
  while ((waited = ring.wait_for_message(in_a_minute())).ok()) {
    while (ring.try_pop(message) && message.kind == kNumber && message.request == count) {
      ++count;
    }
    if (message.kind != kNumber) {
      break;
    }
  }
  std::printf("%llu messages, then %s\n", static_cast<unsigned long long>(count),
              waited.ok() ? "the end" : std::string(to_string(waited.code())).c_str());
  return waited.ok();
}

}  // namespace

int main(int argc, char** argv) {
  const char* const socket = std::getenv("PINION_AGENT_FD");
  if (argc < 3 || socket == nullptr) {
    std::fputs("usage: pinion run -n 2 ring_program COUNT FIRST_COUNT\n", stderr);
    return 64;
  }
  auto joined = pinion::AgentLink::join(pinion::UniqueFd(std::atoi(socket)),
                                        {std::string(pinion::version()), getpid()});
  auto& [link, welcome] = *joined;
  const std::uint64_t first_count = std::strtoull(argv[2], nullptr, 10);
  const bool is_doomed = first_count > 0 && welcome.info.incarnation == 1;
  if (welcome.info.rank == 0) {
    RingEnd ring = ring_with(*link, 1);
    send_numbers(ring, is_doomed ? first_count : std::strtoull(argv[1], nullptr, 10));
    if (is_doomed) {
      raise(SIGKILL);
    }
    push(ring, {.kind = kEnd});
  } else {
    while (!take_numbers(ring_with(*link, 0))) {
    }
  }
  link->leave(welcome.info.rank);
  return 0;
}
