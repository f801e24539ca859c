#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// The longest message, request or reply.
inline constexpr std::uint64_t kMessageBytesMax = std::uint64_t{64} << 20;

/// Which job a transport is of. Two of them connect only where all of it is the same.
struct JobKey {
  std::uint64_t job = 0;
  std::uint32_t epoch = 0;
  /// What only agents of that job can make, and the same for all of them. It travels as it is.
  std::array<std::byte, 32> proof = {};

  friend bool operator==(const JobKey&, const JobKey&) = default;
};

/// Another host's agent, as a transport sees it.
struct Peer {
  std::uint32_t host = 0;
  bool reachable = false;
  std::string path = {};  ///< Transport and device, in words; empty while there is none.
  std::string slow = {};  ///< Why that is slower than it should be, in words; empty unless it is.
  std::uint64_t path_bytes_per_second = 0;  ///< What it should carry; 0 where nobody knows.
  std::uint64_t sent_bytes = 0;      ///< To that host since it was first connected, with blobs.
  std::uint64_t received_bytes = 0;  ///< Likewise, from it.
  std::uint64_t bulk_bytes = 0;  ///< Of pulls, while one of 1 MiB or more was under way from there,
  Duration bulk_time = {};       ///< and how long that was.
};

/// What a transport tells its owner. Each is called from the transport's own thread, one call at a
/// time, and must neither block nor throw; what they are given is theirs for the call only. They
/// may call the transport. Requests and pulls of others fail with kUnimplemented where there is no
/// handler for them.
struct TransportHandlers {
  /// A message of `host`. Messages of one host arrive in the order in which they were sent.
  std::function<void(std::uint32_t host, std::span<const std::byte> message)> on_message = {};

  /// A request of `host`; what is returned, also an error, travels back as its reply.
  std::function<Result<std::vector<std::byte>>(std::uint32_t host,
                                               std::span<const std::byte> request)>
      on_request = {};

  /// `host` pulls the blob behind `handle`. What is returned is held until its bytes are there or
  /// the host is gone, or has for too long not said so of this blob; an error is what the pull
  /// fails with there.
  std::function<Result<Blob>(std::uint32_t host, const BlobHandle& handle)> on_pull = {};

  /// A host that became reachable (success); or that is gone or could not be connected, with the
  /// reason. Requests and pulls that were under way to it have failed before. After it is gone
  /// nothing of it arrives until it is connected once more.
  std::function<void(std::uint32_t host, const Status& reason)> on_peer = {};

  /// The way to `host` is slower than it should be, and why: a better one is there, or large blobs
  /// come at a tenth of what it should carry. Said once for each reason.
  std::function<void(std::uint32_t host, const std::string& reason)> on_slow = {};

  /// Somebody who connected was refused, and why: another job, another version, another protocol,
  /// garbage. Said once for each reason, of which there are 256 at most.
  std::function<void(const Status& reason)> on_refusal = {};
};

/// Carries bytes between the agents of a job's hosts, pulls blobs, and tells who is reachable. It
/// knows no meaning of what it carries. Who has another JobKey is refused, and changes nothing for
/// hosts that are connected, whichever of them it says it is. Extension point: one implementation
/// for each way between hosts; they take their TransportHandlers and JobKey when they are made.
///
/// Thread safety: all members may be called from any thread; the destructor from none of its own.
/// Lifetime: the destructor ends every connection; requests and pulls that are not done are
///   answered with kCancelled before it returns.
class ITransport {
 public:
  virtual ~ITransport() = default;

  /// Where other agents connect to: opaque, printable, constant.
  [[nodiscard]] virtual std::string address() const = 0;

  /// Begins to connect to the agent of `host`; the outcome comes by on_peer, on both sides. When
  /// both begin, one of the two connections stays.
  /// Errors: kInvalidArgument for an address that no transport of this kind made, and for this
  ///   host itself; kAlreadyExists when the host is connected, or is being connected.
  [[nodiscard]] virtual Status connect(std::uint32_t host, const std::string& address) = 0;

  /// Hands over a copy of `message`; small ones may travel together. Success says that it was
  /// accepted, not that it arrived.
  /// Errors: kResourceExhausted when as much is under way to that host as it gave credit for;
  ///   kUnavailable when the host is not reachable; kInvalidArgument beyond kMessageBytesMax.
  [[nodiscard]] virtual Status send(std::uint32_t host, std::span<const std::byte> message) = 0;

  /// Sends `request` and calls `done` once, as a handler is called, with the reply or the error.
  /// Errors, by `done`: the peer's own; kDeadlineExceeded when no reply came within `timeout`, the
  ///   peer may still act on it; kUnavailable when the host is not reachable or was lost meanwhile;
  ///   kResourceExhausted and kInvalidArgument as for send().
  virtual void request(std::uint32_t host, std::span<const std::byte> request, Duration timeout,
                       std::function<void(Result<std::vector<std::byte>>)> done) = 0;

  /// Copies a blob, or a part of it, from `host`, which has it, into `into`, verifies the bytes,
  /// seals them, and calls `done` once, as a handler is called, with the blob that is here then.
  /// Precondition: into.bytes() has the size of the part, which is inside of its blob.
  /// Errors, by `done`: those of on_pull on the other host; kDataLoss when the bytes that arrived
  ///   are not those that were sealed; kUnavailable as for request(), and when the owner did not
  ///   hear for too long that the bytes had arrived. Nothing is sealed.
  virtual void pull_from(std::uint32_t host, const BlobPart& part, BlobWriter into,
                         std::function<void(Result<Blob>)> done) = 0;

  /// The same of a whole blob, from the host that the handle names.
  void pull(const BlobHandle& handle, BlobWriter into, std::function<void(Result<Blob>)> done) {
    pull_from(handle.host, BlobPart::whole(handle), std::move(into), std::move(done));
  }

  /// Every host that was connected, also those that are gone. A snapshot, by host.
  [[nodiscard]] virtual std::vector<Peer> peers() const = 0;
};

}  // namespace pinion
