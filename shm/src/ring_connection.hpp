#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>
#include <utility>

#include <pinion/core/assert.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/detail/pause_cpu.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/ring.hpp>

#include "memory_mapping.hpp"
#include "ring_core.hpp"
#include "ring_segment.hpp"

namespace pinion {

/// What an end of a ring has mapped and opened.
struct RingParts {
  RingAddress address;
  MemoryMapping own;
  MemoryMapping peer;
  std::array<UniqueFd, kRingDescriptorCount> descriptors;
  UniqueFd peer_watch;
};

/// An end of a ring over mapped segments: both directions of the core, and sleeping. RingEnd is
/// this with the policy of production.
template <class Policy>
class RingConnection {
 public:
  using Cell = RingCell<Policy>;
  using Lines = RingLines<Policy>;
  static_assert(sizeof(Cell) == sizeof(RingCellOf) && sizeof(Lines) == sizeof(RingLinesOf));

  RingConnection(RingParts parts, const RingOptions& options)
      : parts_(std::move(parts)),
        spin_(options.spin),
        producer_(cells<Cell>(parts_.own), lines<const Lines>(parts_.peer).taken),
        consumer_(cells<const Cell>(parts_.peer), lines<Lines>(parts_.own).taken),
        message_parking_(lines<Lines>(parts_.own).awaits_message),
        space_parking_(lines<Lines>(parts_.own).awaits_space),
        message_waker_(lines<const Lines>(parts_.peer).awaits_message),
        space_waker_(lines<const Lines>(parts_.peer).awaits_space) {
    int type = 0;
    socklen_t size = sizeof(type);
    const bool is_socket =
        ::getsockopt(parts_.peer_watch.get(), SOL_SOCKET, SO_TYPE, &type, &size) == 0;
    // A socket may have data to read while its peer lives; a pidfd is readable after the death.
    death_events_ = static_cast<short>(is_socket ? POLLRDHUP : POLLIN);
  }

  std::size_t push(std::span<const RingMessage> messages) noexcept {
    const std::size_t count = producer_.push(messages.size(), [messages](std::size_t i) noexcept {
      PINION_ASSERT(messages[i].length_bytes <= kRingPayloadBytesMax);
      return std::bit_cast<RingWords<Policy>>(messages[i]);
    });
    if (count > 0 && message_waker_.must_wake()) {
      wake(RingDescriptor::kPeerMessage);
    }
    return count;
  }

  std::size_t pop(std::span<RingMessage> messages) noexcept {
    const auto take = [messages](std::size_t i, const RingWords<Policy>& words) noexcept {
      messages[i] = std::bit_cast<RingMessage>(words);
      return messages[i].length_bytes <= kRingPayloadBytesMax;
    };
    const std::size_t count = consumer_.pop(messages.size(), take);
    if (count > 0 && space_waker_.must_wake()) {
      wake(RingDescriptor::kPeerSpace);
    }
    return count;
  }

  Status wait_for_message(Instant deadline) {
    const auto is_ready = [this] { return consumer_.is_ready(); };
    const Status waited = wait(deadline, message_parking_, RingDescriptor::kMessageCame, is_ready);
    return consumer_.is_broken() ? words_of(consumer_.damage()) : waited;
  }

  Status wait_for_space(Instant deadline) {
    const auto is_ready = [this] { return producer_.is_ready(); };
    const Status waited = wait(deadline, space_parking_, RingDescriptor::kSpaceCame, is_ready);
    return producer_.is_broken() ? words_of(producer_.damage()) : waited;
  }

  bool begin_sleep() noexcept {
    return !message_parking_.park([this]() noexcept { return consumer_.is_ready(); });
  }

  [[nodiscard]] int message_descriptor() const noexcept {
    return descriptor(RingDescriptor::kMessageCame);
  }

  void end_sleep(bool was_readable) noexcept {
    if (was_readable) {
      clear_wake_ups(message_descriptor());
    }
    message_parking_.unpark();
  }

  [[nodiscard]] Status check_received() const {
    return consumer_.is_broken() ? words_of(consumer_.damage()) : Status();
  }

  [[nodiscard]] const RingAddress& address() const noexcept { return parts_.address; }

 private:
  template <class T>
  static T& lines(const MemoryMapping& segment) noexcept {
    return *reinterpret_cast<T*>(segment.bytes().data() + sizeof(RingHeader));
  }
  template <class T>
  std::span<T> cells(const MemoryMapping& segment) const noexcept {
    std::byte* const begin = segment.bytes().data() + sizeof(RingHeader) + sizeof(Lines);
    return {reinterpret_cast<T*>(begin), parts_.address.capacity};
  }

  [[nodiscard]] int descriptor(RingDescriptor which) const noexcept {
    return parts_.descriptors[static_cast<std::size_t>(which)].get();
  }

  void wake(RingDescriptor which) noexcept {
    const std::uint64_t one = 1;
    Policy::before(RingStore::kWake);
    // It fails only when so many wake-ups are there that one more makes no difference.
    static_cast<void>(::write(descriptor(which), &one, sizeof(one)));
    Policy::after(RingStore::kWake);
  }

  // Before the ring is looked at, so that a wake-up that comes after the look stays.
  static void clear_wake_ups(int came) noexcept {
    std::uint64_t count = 0;
    static_cast<void>(::read(came, &count, sizeof(count)));
  }

  template <class IsReady>
  Status wait(Instant deadline, RingParking<Policy>& parking, RingDescriptor came,
              const IsReady& is_ready) {
    if (is_ready() || looks_until(deadline, is_ready)) {
      return {};
    }
    Status enough;
    const auto sleep = [&] {
      enough = sleep_once(deadline, descriptor(came));
      return enough.ok();
    };
    // What came in the last moment counts: a message of a process that is dead by now, or one at
    // the deadline.
    return parking.park_until(is_ready, sleep) ? Status() : enough;
  }

  // Looks for a while before it comes to sleeping.
  template <class IsReady>
  bool looks_until(Instant deadline, const IsReady& is_ready) {
    constexpr int kLooksPerClock = 16;
    const Instant begin = clock_.now();
    const Instant end = std::min(deadline, begin + spin_);
    for (Instant now = begin; now < end; now = clock_.now()) {
      for (int i = 0; i < kLooksPerClock; ++i) {
        pause_cpu();
        if (is_ready()) {
          return true;
        }
      }
    }
    return false;
  }

  // Sleeps until it is woken. Errors: kDeadlineExceeded, kUnavailable.
  Status sleep_once(Instant deadline, int came) {
    std::array<pollfd, 2> watched = {
        {{.fd = came, .events = POLLIN, .revents = 0},
         {.fd = parts_.peer_watch.get(), .events = death_events_, .revents = 0}}};
    const Instant now = clock_.now();
    const Duration left = deadline > now ? deadline - now : Duration::zero();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec timeout = {.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    const int count = ::ppoll(watched.data(), watched.size(), &timeout, nullptr);
    if (count < 0) {
      return errno == EINTR ? Status() : Status::from_errno(errno, "waiting for a ring");
    }
    if (watched[0].revents != 0) {
      clear_wake_ups(came);
    }
    if (watched[1].revents != 0) {
      return Status(ErrorCode::kUnavailable,
                    "the process at the other end of " + name() + " is gone");
    }
    // Woken or not: a peer that wakes this end without end cannot keep it past its deadline.
    return count > 0 && left > Duration::zero()
               ? Status()
               : Status(ErrorCode::kDeadlineExceeded,
                        "nothing came through " + name() + " in the time given");
  }

  [[nodiscard]] std::string name() const { return "ring " + std::to_string(parts_.address.number); }

  [[nodiscard]] Status words_of(const RingDamage& damage) const {
    const std::string what = damage.store == RingStore::kTurn ? "the number of its cell is "
                             : damage.store == RingStore::kTaken
                                 ? "so many messages are said to be taken: "
                                 : "it says that it is longer than a message can be; ";
    return Status(ErrorCode::kDataLoss, "the other process has damaged " + name() + " at message " +
                                            std::to_string(damage.position) + ": " + what +
                                            std::to_string(damage.found) + ", expected " +
                                            std::to_string(damage.expected) +
                                            "; drop this ring and ask for another");
  }

  const RingParts parts_;
  const Duration spin_;
  const SystemClock clock_;
  short death_events_ = 0;
  // Each on lines of its own: they may be used by two threads.
  alignas(64) RingProducer<Policy> producer_;
  alignas(64) RingConsumer<Policy> consumer_;
  RingParking<Policy> message_parking_;
  alignas(64) RingParking<Policy> space_parking_;
  RingWaker<Policy> message_waker_;
  alignas(64) RingWaker<Policy> space_waker_;
};

/// Checks and maps what a ticket gives. Errors: as RingEnd::attach().
[[nodiscard]] Result<RingParts> open_ring_parts(RingTicket ticket, UniqueFd peer_watch);

}  // namespace pinion
