#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// Another host's agent, as a transport sees it.
struct Peer {
  std::uint32_t host = 0;
  bool reachable = false;
  std::string path = {};  ///< Transport and device in use, in words; empty while none is.
};

/// What a transport tells its owner. Each is called from the transport's own thread, one call at a
/// time, and must neither block nor throw; what they are given is theirs for the call only.
struct TransportHandlers {
  /// A message of `host`. Messages of one host arrive in the order in which they were sent.
  std::function<void(std::uint32_t host, std::span<const std::byte> message)> on_message = {};

  /// A request of `host`; what is returned, also an error, travels back as its reply.
  std::function<Result<std::vector<std::byte>>(std::uint32_t host,
                                               std::span<const std::byte> request)>
      on_request = {};

  /// A host that became reachable (success), or that is gone, with the reason. After it is gone
  /// nothing of it arrives until it is connected once more.
  std::function<void(std::uint32_t host, const Status& reason)> on_peer = {};
};

/// Carries bytes between the agents of a job's hosts, pulls blobs, and tells who is reachable. It
/// knows no meaning of what it carries. Extension point: one implementation for each way between
/// hosts; they take their TransportHandlers when they are made.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: the destructor ends every connection; requests and pulls that are not done are
/// answered
///   with kCancelled before it returns.
class ITransport {
 public:
  virtual ~ITransport() = default;

  /// Where other agents connect to: opaque, printable, constant.
  [[nodiscard]] virtual std::string address() const = 0;

  /// Begins to connect to the agent of `host`; the outcome comes by on_peer.
  /// Errors: kInvalidArgument for an address that this transport did not make; kAlreadyExists when
  ///   the host is connected.
  [[nodiscard]] virtual Status connect(std::uint32_t host, const std::string& address) = 0;

  /// Hands over a copy of `message`; small ones may travel together. Success says that it was
  /// accepted, not that it arrived.
  /// Errors: kResourceExhausted when as much is under way to that host as it gave credit for;
  ///   kUnavailable when the host is not reachable.
  [[nodiscard]] virtual Status send(std::uint32_t host, std::span<const std::byte> message) = 0;

  /// Sends `request` and calls `done` once, as a handler is called, with the reply or the error.
  /// Errors, by `done`: the peer's own; kDeadlineExceeded when no reply came within `timeout`, the
  ///   peer may still act on it; kUnavailable when the host is not reachable or was lost meanwhile.
  virtual void request(std::uint32_t host, std::span<const std::byte> request, Duration timeout,
                       std::function<void(Result<std::vector<std::byte>>)> done) = 0;

  /// Copies the blob behind `handle` from its host into `into`, verifies it, seals it, and calls
  /// `done` once, as a handler is called, with the blob that is here then.
  /// Precondition: into.bytes() has the size that the handle says.
  /// Errors, by `done`: those of IBlobStore::open() on the other host; kDataLoss when the bytes
  /// that
  ///   arrived are not those that were sealed; kUnavailable as for request(). Nothing is sealed.
  virtual void pull(const BlobHandle& handle, BlobWriter into,
                    std::function<void(Result<Blob>)> done) = 0;

  /// Every host that was connected, also those that are gone. A snapshot, by host.
  [[nodiscard]] virtual std::vector<Peer> peers() const = 0;
};

}  // namespace pinion
