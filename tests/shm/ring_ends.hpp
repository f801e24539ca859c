#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include <gtest/gtest.h>

#include <pinion/shm/ring.hpp>

namespace pinion {

/// A message that holds its number in every field, so that a torn one shows.
inline RingMessage numbered(std::uint64_t number) {
  RingMessage message{.kind = static_cast<std::uint32_t>(number),
                      .length_bytes = static_cast<std::uint32_t>(number % 41),
                      .request = number};
  for (std::size_t i = 0; i < message.payload.size(); i += sizeof(number)) {
    std::memcpy(message.payload.data() + i, &number, sizeof(number));
  }
  return message;
}

/// Two sockets that are connected: each end tells when the other one is closed.
inline std::pair<UniqueFd, UniqueFd> make_sockets() {
  std::array<int, 2> ends = {};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// Both ends of a ring in one process. Each believes that the other process lives as long as the
/// end in here does.
class TwoEnds {
 public:
  explicit TwoEnds(std::uint32_t capacity, const RingOptions& options = {}) {
    auto [first, second] = *make_ring(1, 2, capacity);
    const int segment = first.descriptors[0].get();
    segment_of_first_ = UniqueFd(::fcntl(segment, F_DUPFD_CLOEXEC, 0));
    const int wake_up =
        first.descriptors[static_cast<std::size_t>(RingDescriptor::kPeerMessage)].get();
    wake_up_of_second_ = UniqueFd(::fcntl(wake_up, F_DUPFD_CLOEXEC, 0));
    auto [watch_of_first, watch_of_second] = make_sockets();
    first_.emplace(*RingEnd::attach(std::move(first), std::move(watch_of_first), options));
    second_.emplace(*RingEnd::attach(std::move(second), std::move(watch_of_second), options));
  }

  RingEnd& first() { return *first_; }
  RingEnd& second() { return *second_; }
  void first_dies() { first_.reset(); }

  /// What the second end sleeps on when it waits for a message.
  [[nodiscard]] int wake_up_of_second() const noexcept { return wake_up_of_second_.get(); }

  /// What the first end writes.
  [[nodiscard]] int segment_of_first() const noexcept { return segment_of_first_.get(); }

 private:
  UniqueFd segment_of_first_;
  UniqueFd wake_up_of_second_;
  std::optional<RingEnd> first_;
  std::optional<RingEnd> second_;
};

}  // namespace pinion
