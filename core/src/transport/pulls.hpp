#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/detail/link.hpp>
#include <pinion/core/status.hpp>

namespace pinion::detail {

/// Blobs up to this size travel as a frame among others, unless much waits to be sent; larger ones
/// in chunks of their own.
inline constexpr std::uint64_t kInlineBlobBytesMax = std::uint64_t{8} << 10;

/// What the rate of a way is measured by: with smaller blobs it is that of round trips.
inline constexpr std::uint64_t kBulkBlobBytesMin = std::uint64_t{1} << 20;

/// A pull that is over, but whose owner does not know yet.
struct EndedPull {
  std::uint64_t id = 0;
  ConnectionId connection = 0;
  std::function<void(Result<Blob>)> done = {};
  Result<Blob> result;
  bool lent = false;  ///< The owner of the bytes still holds them for it.
  bool bulk = false;  ///< It had kBulkBlobBytesMin or more.

  void call() { done(std::move(result)); }
};

/// The pulls of this host. A blob is sealed when every byte of it arrived and was verified.
class Pulls {
 public:
  using Done = std::function<void(Result<Blob>)>;
  using Damage = std::function<void(std::span<std::byte>)>;

  /// `damage` is called for bytes that arrived, if it is set.
  explicit Pulls(Damage damage) : damage_(std::move(damage)) {}

  void begin(std::uint64_t id, ConnectionId connection, const BlobHandle& handle,
             BlobWriter&& writer, Done done);

  /// Where the chunk goes; nowhere if its pull is over. kDataLoss if it is not the next one.
  [[nodiscard]] Result<ChunkTarget> place(ConnectionId connection, const ChunkHeader& header);

  /// The pull of that chunk, if it ends with it.
  [[nodiscard]] std::optional<EndedPull> arrived(const ChunkHeader& header);

  /// The pull that `bytes`, a checksum and a whole blob, are for.
  [[nodiscard]] std::optional<EndedPull> arrived_whole(ConnectionId connection, std::uint64_t id,
                                                       std::span<const std::byte> bytes);

  [[nodiscard]] std::optional<EndedPull> fail(ConnectionId connection, std::uint64_t id,
                                              const Status& error);

  /// All of a connection, or of all, fail.
  [[nodiscard]] std::vector<EndedPull> fail_all(std::optional<ConnectionId> connection,
                                                const Status& error);

  [[nodiscard]] bool any(ConnectionId connection) const { return counts_.contains(connection); }
  [[nodiscard]] bool any() const { return !counts_.empty(); }

 private:
  // Shared with the link while it writes, which may be after the pull has failed.
  struct Pull {
    ConnectionId connection;
    BlobHandle handle;
    BlobWriter writer;
    Done done;
    std::uint64_t placed_bytes = 0;
    std::uint64_t arrived_bytes = 0;
  };
  using Table = std::unordered_map<std::uint64_t, std::shared_ptr<Pull>>;

  Table::iterator find(ConnectionId connection, std::uint64_t id);
  EndedPull end(Table::iterator found, std::optional<Status> error, bool lent);
  [[nodiscard]] bool verify(std::span<std::byte> bytes, std::uint64_t expected) const;

  const Damage damage_;
  Table pulls_;
  std::unordered_map<ConnectionId, std::size_t> counts_;  // Of each connection; none is 0.
};

/// The blobs that one peer is pulling from this host. How long each is held is a matter of its own:
/// others that move do not keep one that does not.
class Loans {
 public:
  struct Chunk {
    ChunkHeader header;
    Blob blob;
  };

  /// To be sent in chunks of about `chunk_bytes`, and no longer ones.
  /// False when the peer pulls under that number already.
  [[nodiscard]] bool add(std::uint64_t id, Blob blob, std::uint64_t chunk_bytes);

  /// The peer wants no more of it.
  void end(std::uint64_t id);

  /// The next chunk to send, of each blob in turn; nothing while enough are under way.
  [[nodiscard]] std::optional<Chunk> next(Instant now);

  /// A chunk that next() gave has left; its loan may have ended since.
  void chunk_left(const ChunkHeader& header, Instant now);

  /// Ends those of which the last chunk left `patience` ago and that were not given back; names
  /// them, in their order. One that waits for its turn is none of them.
  [[nodiscard]] std::vector<std::uint64_t> end_kept(Instant now, Duration patience);

  /// Whether a chunk is under way for longer than it takes where each that goes alone has
  /// `patience`. The link has its blob, so that nothing but the end of the connection ends that.
  [[nodiscard]] bool any_stuck(Instant now, Duration patience) const;

  /// As if all of them had moved just now.
  void forgive(Instant now);

  [[nodiscard]] std::size_t size() const noexcept { return loans_.size(); }

 private:
  struct Loan {
    Blob blob;
    std::uint64_t chunk_bytes;
    std::uint64_t next_offset = 0;
    Instant moved = {};  // When a chunk of it left last.
  };
  struct ChunkUnderWay {
    std::uint64_t id = 0;
    std::uint64_t offset = 0;
    Instant since = {};
  };

  [[nodiscard]] bool has_left(std::uint64_t id, const Loan& loan) const;

  std::unordered_map<std::uint64_t, Loan> loans_;
  std::deque<std::uint64_t> unsent_;  // Those of which something is left to send, or that ended.
  std::vector<ChunkUnderWay> under_way_;  // A few, also of loans that ended.
};

}  // namespace pinion::detail
