#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

namespace pinion::detail {

/// One connection of a link, at one of its ends. Never given twice by one link.
using ConnectionId = std::uint64_t;

/// A piece of a blob on its way to whoever pulls it. Fixed layout, little-endian.
struct ChunkHeader {
  std::uint64_t pull = 0;  ///< The number that the puller gave.
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t checksum = 0;  ///< Of the bytes.
};
static_assert(sizeof(ChunkHeader) == 32);

/// Where the bytes of a chunk go. Without `keep_alive` nobody wants them.
struct ChunkTarget {
  std::span<std::byte> bytes = {};  ///< As long as the chunk.
  std::shared_ptr<void> keep_alive = {};
};

/// By which way a connection goes.
struct LinkPath {
  std::string name = {};               ///< Transport and device, in words.
  std::uint64_t bytes_per_second = 0;  ///< What it should carry each way; 0 where nobody knows.
  std::string slow = {};  ///< What better way this host has, and how it is chosen; else empty.

  friend bool operator==(const LinkPath&, const LinkPath&) = default;
};

/// What a link tells. All calls come from ILink::progress().
class ILinkEvents {
 public:
  virtual ~ILinkEvents() = default;

  /// Somebody connected.
  virtual void on_accepted(ConnectionId connection) = 0;

  /// What one send() of the other end gave, in the order of these. The bytes are there for the
  /// call.
  virtual void on_batch(ConnectionId connection, std::span<const std::byte> batch) = 0;

  /// The first `bytes` that send() took have left, counted anew for each call.
  virtual void on_sent(ConnectionId connection, std::uint64_t bytes) = 0;

  /// A chunk wants a place.
  virtual ChunkTarget on_chunk(ConnectionId connection, const ChunkHeader& header) = 0;

  /// The bytes of a chunk are where on_chunk() wanted them.
  virtual void on_chunk_arrived(ConnectionId connection, const ChunkHeader& header) = 0;

  /// A chunk that send_chunk() took has left; its bytes are needed no more.
  virtual void on_chunk_sent(ConnectionId connection, const ChunkHeader& header) = 0;

  /// The connection broke. The last that is heard of it.
  virtual void on_lost(ConnectionId connection, const Status& reason) = 0;
};

/// A way between hosts: connections that keep the order of batches, or break. It knows nothing of
/// what they carry. What makes an ITransport of it is make_link_transport().
///
/// Thread safety: all members from one thread, that of the transport, unless they say otherwise.
/// Lifetime: the destructor breaks every connection.
class ILink {
 public:
  virtual ~ILink() = default;

  /// What open() of other hosts takes. Constant. Thread safety: any thread.
  [[nodiscard]] virtual std::string address() const = 0;

  /// Whether open() could take `address`: kInvalidArgument if not. Thread safety: any thread.
  [[nodiscard]] virtual Status check_address(const std::string& address) const = 0;

  /// The name and version of what both ends must have alike. Thread safety: any thread.
  [[nodiscard]] virtual std::string version() const = 0;

  /// A new connection, which takes batches at once. Whether there is anybody, time tells.
  [[nodiscard]] virtual Result<ConnectionId> open(const std::string& address) = 0;

  virtual void send(ConnectionId connection, std::vector<std::byte> batch) = 0;

  /// How long the chunks of a large blob are best over that connection; above 0.
  [[nodiscard]] virtual std::uint64_t chunk_bytes(ConnectionId connection) = 0;

  /// Sends header.length bytes of `blob` from header.offset on, and has `blob` while it does.
  virtual void send_chunk(ConnectionId connection, const ChunkHeader& header, const Blob& blob) = 0;

  /// Ends a connection, of which nothing is heard from now on. What is under way is carried to its
  /// end first, for a second at most. One that is told of the end by a last batch closes, too: with
  /// `after_other` this end waits for that, so that neither breaks what the other has under way;
  /// where both do, one of them goes first.
  virtual void close(ConnectionId connection, bool after_other) = 0;

  /// Of a connection over which something has come.
  [[nodiscard]] virtual LinkPath path(ConnectionId connection) = 0;

  /// Reports what happened. Returns whether anything did.
  virtual bool progress(ILinkEvents& events) = 0;

  /// Returns when something may have happened, after wake(), and at `until`. May return early.
  virtual void wait(Instant until) = 0;

  /// Ends a wait(), or the next one. Thread safety: any thread.
  virtual void wake() = 0;

  /// Waits until what close() left open has left, a second at most. False where that was too short
  /// for one of the connections that were ever closed.
  virtual bool drain() = 0;
};

}  // namespace pinion::detail
