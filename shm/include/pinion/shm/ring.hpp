#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// The most bytes that one message of a ring carries: a BlobHandle.
inline constexpr std::size_t kRingPayloadBytesMax = 40;

/// One message of a ring. What `kind` and `request` mean is up to the two ends.
struct RingMessage {
  std::uint32_t kind = 0;
  std::uint32_t length_bytes = 0;  ///< How much of `payload` counts.
  std::uint64_t request = 0;
  std::array<std::byte, kRingPayloadBytesMax> payload = {};

  friend bool operator==(const RingMessage&, const RingMessage&) = default;
};
static_assert(sizeof(RingMessage) == 56 && std::is_trivially_copyable_v<RingMessage>);

/// Which end of which ring. Travels beside its descriptors, and is checked against what they hold.
struct RingAddress {
  std::uint64_t job = 0;
  std::uint64_t number = 0;    ///< Of the ring in its job.
  std::uint32_t capacity = 0;  ///< Messages on the way in each direction; a power of two.
  std::uint32_t side = 0;      ///< 0 or 1.
};
static_assert(sizeof(RingAddress) == 24 && std::is_trivially_copyable_v<RingAddress>);

inline constexpr std::uint32_t kRingCapacityMax = 1u << 16;

/// The descriptors of one end, in the order in which they are sent.
enum class RingDescriptor : std::uint8_t {
  kOwnSegment,   ///< What this end writes.
  kPeerSegment,  ///< What the other end writes; opened for reading only.
  kMessageCame,  ///< This end sleeps on it.
  kSpaceCame,    ///< This end sleeps on it.
  kPeerMessage,  ///< Wakes the other end.
  kPeerSpace,    ///< Wakes the other end.
};
inline constexpr std::size_t kRingDescriptorCount = 6;

/// The right to be one end of a ring: what its maker gives to a process.
struct RingTicket {
  RingAddress address;
  std::array<UniqueFd, kRingDescriptorCount> descriptors;
};

/// Makes a ring and gives the tickets of its sides 0 and 1. The maker keeps nothing.
/// Errors: kInvalidArgument for a capacity that is not a power of two from 2 to kRingCapacityMax;
///   kResourceExhausted when the system has no memory or no descriptors.
[[nodiscard]] Result<std::pair<RingTicket, RingTicket>> make_ring(std::uint64_t job,
                                                                  std::uint64_t number,
                                                                  std::uint32_t capacity);

struct RingOptions {
  /// How long a waiting thread looks at the ring before it sleeps. Waking it costs tens of
  /// microseconds, so that about as long is worth looking.
  Duration spin = std::chrono::microseconds(30);
};

/// One end of a ring: fixed-size messages both ways between two processes of a host, without locks
/// and without a system call while both are awake.
///
///     while (ring.wait_for_message(deadline).ok()) {
///       RingMessage message;
///       while (ring.try_pop(message)) { ... }
///     }
///
/// Each end writes one segment, and maps that of the other for reading only: a wild store of one
/// process cannot reach what the other one has said, and each reads only what it then checks. No
/// value that the other end writes leads outside of the ring or makes a call wait past its
/// deadline; one that cannot be ends its direction with kDataLoss. (Not kept from harm is a process
/// whose peer sets flags of the descriptors that both hold, or stops it by a signal: they are
/// processes of one user.)
///
/// What a crash leaves, at whatever instruction: messages are there whole, in their order, up to
/// the last call of try_push() that published its own; of a call that did not, nothing. The other
/// end takes those, then is told kUnavailable, asleep or not. What was sent to the dead process and
/// not taken is lost. Nothing has a name, so memory and descriptors go with the last process that
/// has them. The ring itself is not used again: a process that comes back gets another one.
///
/// Thread safety: one thread at a time may push (try_push, wait_for_space), and one at a time may
///   pop (try_pop, wait_for_message, begin_sleep, end_sleep, check_received); these two may be
///   different.
/// Lifetime: movable while no member runs; a moved-from end may only be destroyed or assigned. A
///   child made by fork() has no ring.
class RingEnd {
 public:
  /// `peer_watch` tells of the death of the other process: its pidfd, or a socket whose other end
  /// only it has, and which it may write to.
  /// Errors: kInvalidArgument for an address that cannot be and a descriptor that is missing;
  ///   kFailedPrecondition for a segment that could still be cut off; kDataLoss for one that is of
  ///   another ring, side, size or layout.
  [[nodiscard]] static Result<RingEnd> attach(RingTicket ticket, UniqueFd peer_watch,
                                              const RingOptions& options = {});
  ~RingEnd();
  RingEnd(RingEnd&&) noexcept;
  RingEnd& operator=(RingEnd&&) noexcept;

  /// False when the ring is full, or broken: wait_for_space() says which. True says nothing about
  /// whether the peer lives. Blocks: never.
  /// Precondition: message.length_bytes <= kRingPayloadBytesMax.
  [[nodiscard]] bool try_push(const RingMessage& message) noexcept;

  /// Sends the first messages, as many as fit; the peer sees these all at once.
  /// Returns how many that were.
  [[nodiscard]] std::size_t try_push(std::span<const RingMessage> messages) noexcept;

  /// False when no message is there, or the ring is broken: wait_for_message() says which.
  /// Blocks: never.
  [[nodiscard]] bool try_pop(RingMessage& message) noexcept;

  /// Takes the next messages, as many as are there and fit. Returns how many.
  [[nodiscard]] std::size_t try_pop(std::span<RingMessage> messages) noexcept;

  /// Blocks: until a message is there, and no longer than the deadline. One that has passed asks
  ///   how things stand.
  /// Errors: kDeadlineExceeded; kUnavailable when no message is there and the peer is dead;
  ///   kDataLoss when it has damaged the ring.
  [[nodiscard]] Status wait_for_message(Instant deadline);

  /// Blocks: until a message fits, and no longer than the deadline.
  /// Errors: those of wait_for_message().
  [[nodiscard]] Status wait_for_space(Instant deadline);

  /// For a loop that sleeps on more than this ring, instead of wait_for_message():
  ///
  ///     const bool sleeps = ring.begin_sleep();
  ///     poll() on ring.message_descriptor() and the rest, without patience unless `sleeps`;
  ///     ring.end_sleep(the descriptor was readable);
  ///     while (ring.try_pop(message)) { ... }
  ///
  /// Says to the other end that this one is about to sleep, so that its next message makes the
  /// descriptor readable, and then looks at the ring once more. False: something is there to be
  /// taken, or the peer has damaged the ring; do not sleep. Whatever it returns, end_sleep() comes
  /// before any other member of those who take messages.
  /// The death of the peer does not show in the descriptor: the caller watches for that as well.
  /// Blocks: never.
  [[nodiscard]] bool begin_sleep() noexcept;

  /// Readable when a message came during a sleep, and sometimes when none did. Stays the end's, and
  /// is for poll() alone.
  [[nodiscard]] int message_descriptor() const noexcept;

  /// Says that this end is awake, and makes the descriptor unreadable if it `was_readable`, as
  /// poll() said; otherwise there is no system call, and a wake-up that came since ends the next
  /// sleep at once. What came is then found by try_pop(), which must be called until it finds no
  /// more before the next sleep.
  /// Precondition: after begin_sleep(), once. Blocks: never.
  void end_sleep(bool was_readable) noexcept;

  /// Whether the peer has damaged what it sends, so that try_pop() finds nothing any more. As of
  /// the last member that looked for messages. Blocks: never.
  /// Errors: kDataLoss.
  [[nodiscard]] Status check_received() const;

  [[nodiscard]] const RingAddress& address() const noexcept;

 private:
  struct State;
  explicit RingEnd(std::unique_ptr<State> state) noexcept;

  std::unique_ptr<State> state_;
};

}  // namespace pinion
