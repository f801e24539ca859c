#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/shm/blob_store_identity.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// The agent's half of a host's blob store: owns the sealed segments that the clients (one for each
/// incarnation of each rank) have published, and says which of them live on when a client dies.
///
///     table.publish(client, handle, home, std::move(descriptor));  // a rank sealed a blob
///     table.keep(handle);                                          // the job accepted it
///     table.client_gone(client);                                   // what is kept stays
///     table.find(handle);                                          // for another rank to map
///     table.release(handle);
///
/// Thread safety: none; one thread drives it.
/// Lifetime: closes its descriptors at the end; memory that somebody has mapped stays until then.
class SegmentTable {
 public:
  /// `segments_per_client`: how many numbers each client has; at least 1.
  SegmentTable(BlobStoreIdentity identity, std::uint32_t segments_per_client);

  /// The first number that `client` may give to a segment.
  /// Precondition: client < client_count_max().
  [[nodiscard]] std::uint32_t first_segment(std::uint32_t client) const;

  /// How many clients there can be before the numbers run out.
  [[nodiscard]] std::uint64_t client_count_max() const noexcept;

  /// Takes a sealed segment from a client. On error the descriptor is closed and nothing changed.
  /// Errors: kPermissionDenied for a number that is not the client's; kAlreadyExists for one that
  ///   was used before, by a blob that may be gone; kFailedPrecondition for a handle of another
  ///   job, epoch, host or generation, a segment that is not sealed and a client that is gone;
  ///   kInvalidArgument when the size, the index or the place cannot be; kDataLoss when the
  ///   segment's own header names another blob.
  Status publish(std::uint32_t client, const BlobHandle& handle, Place home, UniqueFd descriptor);

  /// The blob belongs to the job: it stays when its client dies. Twice is once.
  /// Errors: those of find().
  Status keep(const BlobHandle& handle);

  /// Nobody needs the blob any more, kept or not; unknown handles are ignored.
  void release(const BlobHandle& handle);

  /// The segment's descriptor, which stays the table's and is good until the next change, and the
  /// place of its bytes.
  /// Errors: as IBlobStore::open().
  [[nodiscard]] Result<std::pair<int, Place>> find(const BlobHandle& handle) const;

  /// The client's process is dead: drops those of its blobs that are not kept, and refuses what it
  /// may still have under way.
  void client_gone(std::uint32_t client);

  /// Blobs in the table and the sums of their lengths.
  [[nodiscard]] BlobStoreUsage usage() const noexcept { return usage_; }

 private:
  struct Segment {
    BlobHandle handle;
    Place home;
    UniqueFd descriptor;
    std::uint32_t client = 0;
    bool spilled = false;
    bool kept = false;
  };
  struct Client {
    std::vector<bool> used;  // By number less first_segment: a number names one blob, once.
    bool gone = false;
  };

  [[nodiscard]] Status check_claim(std::uint32_t client, const BlobHandle& handle,
                                   Place home) const;
  [[nodiscard]] std::uint64_t& bytes_like(const Segment& segment) noexcept;
  void forget(const Segment& segment) noexcept;
  [[nodiscard]] Status check_known(const BlobHandle& handle) const;

  BlobStoreIdentity identity_;
  std::uint32_t segments_per_client_;
  std::unordered_map<std::uint32_t, Segment> segments_;
  std::unordered_map<std::uint32_t, Client> clients_;
  BlobStoreUsage usage_;
};

}  // namespace pinion
