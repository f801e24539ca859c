#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// The most payload that one frame carries.
inline constexpr std::size_t kFramePayloadBytesMax = std::size_t{64} << 20;

/// The most file descriptors that one frame carries.
inline constexpr std::size_t kFrameDescriptorCountMax = 8;

/// The most bytes that wait in the outbox of a channel: four of the largest frames.
inline constexpr std::size_t kOutboxBytesMax = 4 * kFramePayloadBytesMax;

/// One message of a channel. What `kind` and `request` mean is up to the two ends.
struct Frame {
  std::uint16_t kind = 0;
  std::uint64_t request = 0;
  std::vector<std::byte> payload = {};
  std::vector<UniqueFd> descriptors = {};
};

/// Who made the other end of a socket, as the kernel says.
struct PeerCredentials {
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

/// Frames and file descriptors over a connected Unix stream socket, both ways.
///
/// There are two ways to use it: send() and receive() block and suit a rank's threads; enqueue(),
/// flush() and try_receive() never wait and suit an event loop that watches descriptor().
///
/// Thread safety: everything but receive() and try_receive() may be called from any thread; those
///   two are for one thread at a time. A send() that waits makes the other writing members wait.
/// Lifetime: movable while no member runs; a moved-from channel may only be destroyed or assigned.
/// Errors: a frame that breaks the rules (magic, lengths, descriptors) is kDataLoss: the channel is
///   then shut down both ways and every later receive answers the same. kUnavailable means that the
///   peer is gone. SIGPIPE is never raised.
class Channel {
 public:
  /// Two ends that are connected with each other, both closed on exec.
  static Result<std::pair<Channel, Channel>> create_pair();

  /// Takes over a connected socket and makes it close on exec.
  /// Errors: kInvalidArgument when it is not a Unix stream socket.
  static Result<Channel> adopt(UniqueFd socket);

  ~Channel();
  Channel(Channel&&) noexcept;
  Channel& operator=(Channel&&) noexcept;

  /// Writes one whole frame, after those that wait in the outbox. The descriptors stay the
  /// caller's. Blocks: until the kernel has taken every byte. Errors: kInvalidArgument for too much
  /// payload or too many or bad descriptors and
  ///   kResourceExhausted when the kernel has no room for a frame's start: nothing was written.
  ///   kUnavailable when the peer is gone: the frame may or may not have arrived.
  Status send(std::uint16_t kind, std::uint64_t request, std::span<const std::byte> payload,
              std::span<const int> descriptors = {});

  /// The next frame; empty when the peer closed its end between two frames.
  /// Blocks: until a whole frame is there.
  /// Errors: kUnavailable when the peer went away inside a frame or with frames of ours unread.
  Result<std::optional<Frame>> receive();

  /// Puts one frame behind those that wait (its descriptors are duplicated) and writes what the
  /// kernel takes at once. Errors: those of send(), and kResourceExhausted when kOutboxBytesMax
  ///   bytes would wait: the frame was then not taken.
  Status enqueue(std::uint16_t kind, std::uint64_t request, std::span<const std::byte> payload,
                 std::span<const int> descriptors = {});

  /// Writes of the outbox what the kernel takes at once.
  /// Errors: kUnavailable when the peer is gone; the outbox is dropped. kResourceExhausted when the
  ///   kernel has no room for descriptors in flight; the outbox stays.
  Status flush();

  /// Whether frames wait, so that the loop should watch for room to write.
  [[nodiscard]] bool wants_write() const;

  /// How much waits: headers and payloads, less what has been written.
  [[nodiscard]] std::size_t outbox_bytes() const;

  /// The next frame if it is there as a whole, else empty.
  /// Errors: kUnavailable at the end of file.
  Result<std::optional<Frame>> try_receive();

  /// Ends the conversation both ways: waiting calls of both ends return.
  void shutdown() noexcept;

  /// For poll and epoll; stays the channel's.
  [[nodiscard]] int descriptor() const noexcept;

  /// Who was at the other end when the sockets were connected.
  [[nodiscard]] Result<PeerCredentials> peer() const;

 private:
  struct State;
  explicit Channel(std::unique_ptr<State> state) noexcept;

  std::unique_ptr<State> state_;
};

}  // namespace pinion
