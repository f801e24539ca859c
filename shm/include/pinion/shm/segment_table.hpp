#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/shm/blob_store_identity.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

class SlabTable;

/// How many clients of a host may have references at one time.
inline constexpr std::uint32_t kLivingClientCountMax = 512;

/// A slab as its owner sees it. The descriptor stays the table's.
struct SlabView {
  int descriptor = -1;
  Place home = {};
  std::uint32_t slot = 0;
};

/// Where in which file the bytes of a blob lie.
struct BlobFilePart {
  UniqueFd descriptor = {};
  std::uint64_t offset = 0;
  Place home = {};
};

/// Bytes, and how many of them lie in huge pages.
struct PageShare {
  std::uint64_t bytes = 0;
  std::uint64_t huge_bytes = 0;
};

/// What lies in one segment of a host at one moment. A snapshot: a process that goes on changes it.
struct SegmentState {
  std::uint32_t segment = 0;
  std::uint32_t client = 0;  ///< Who made it.
  Place home;
  std::uint64_t size_bytes = 0;
  std::uint64_t blob_count = 0;       ///< That can be opened.
  std::uint64_t blob_bytes = 0;       ///< Their lengths.
  std::uint64_t kept_count = 0;       ///< That the job keeps.
  std::uint64_t retired_count = 0;    ///< Let go of, with memory that is not used again yet.
  std::uint64_t reference_count = 0;  ///< Of all processes, to its blobs.
  std::uint64_t huge_page_bytes = 0;  ///< In huge pages; known to inspect_store() alone.
  bool is_slab = false;
  bool spilled = false;
  bool owner_gone = false;
};

/// The agent's half of a host's blob store: owns the sealed segments that the clients (one for each
/// incarnation of each rank) have published, and says which of them live on when a client dies.
///
///     table.publish(client, handle, home, std::move(descriptor));  // a rank sealed a blob
///     table.keep(handle);                                          // the job accepted it
///     table.client_gone(client);                                   // what is kept stays
///     table.find(handle);                                          // for another rank to map
///     table.release(handle);
///
/// Small blobs lie in slabs, which a client asks for (make_slab()) and others map (find_slab());
/// what is in them changes without the table, but keep(), release() and client_gone() hold for them
/// too.
///
/// Thread safety: none; one thread drives it.
/// Lifetime: closes its descriptors at the end; memory that somebody has mapped stays until then.
class SegmentTable {
 public:
  /// `segments_per_client`: how many numbers each client has; at least 1.
  /// `slab_bytes_per_client_max`: the most that the slabs of one client may have.
  /// `available_bytes`: what the system could give at this moment; empty: it is not asked.
  SegmentTable(BlobStoreIdentity identity, std::uint32_t segments_per_client,
               std::uint64_t slab_bytes_per_client_max = std::numeric_limits<std::uint64_t>::max(),
               std::function<std::uint64_t()> available_bytes = {});
  ~SegmentTable();

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

  /// The file of a client's references, which that client alone is to get for writing; it stays the
  /// table's. Without it the client has no slabs. Called once for each client. `process` is told to
  /// who inspects the host.
  /// Errors: kResourceExhausted when there are too many clients at one time.
  [[nodiscard]] Result<int> admit(std::uint32_t client, std::int64_t process = 0);

  /// A new slab for that client to write.
  /// Errors: kPermissionDenied and kAlreadyExists as publish(); kFailedPrecondition for one that
  ///   was not admitted or is gone;
  ///   kInvalidArgument for a place or a size that cannot be;
  ///   kResourceExhausted when the client, the host or the system has no room for it.
  [[nodiscard]] Result<SlabView> make_slab(std::uint32_t client, std::uint32_t segment, Place home,
                                           std::uint64_t size_bytes);

  /// The slab of a blob, for `client` to read; from here on its references count.
  /// Errors: kNotFound when there is no such slab; kFailedPrecondition as make_slab().
  [[nodiscard]] Result<SlabView> find_slab(std::uint32_t client, const BlobHandle& handle);

  /// The references of `client`, to be read by a writer of slabs.
  /// Errors: kNotFound when it is gone.
  [[nodiscard]] Result<int> find_row(std::uint32_t client);

  /// Its writer says that nothing is left in the slab. Ignored where that is not so.
  void give_back_slab(std::uint32_t client, std::uint32_t segment);

  /// All segments, by number.
  [[nodiscard]] std::vector<SegmentState> snapshot() const;

  /// The blob belongs to the job: it stays when its client dies. Twice is once.
  /// Errors: those of find().
  Status keep(const BlobHandle& handle);

  /// Nobody needs the blob any more, kept or not; unknown handles are ignored.
  void release(const BlobHandle& handle);

  /// The segment's descriptor, which stays the table's and is good until the next change, and the
  /// place of its bytes.
  /// Errors: as IBlobStore::open().
  [[nodiscard]] Result<std::pair<int, Place>> find(const BlobHandle& handle) const;

  /// The bytes of a blob that the job keeps, or that has a segment of its own. They stay as they
  /// are until it is released, and those of a segment for as long as the descriptor is open.
  /// Errors: those of find(); kDataLoss when a slab does not have them where it says.
  [[nodiscard]] Result<BlobFilePart> file_part_of(const BlobHandle& handle) const;

  /// The bytes of a blob, kept or not, to be read here and given to another host: those of a
  /// segment mapped, those of a slab copied, as its memory is used again once nobody has the blob.
  /// While they are copied its writer cannot do that; for whoever reads the copy nothing is held.
  /// Errors: as IBlobStore::open(); kDataLoss when a slab does not have the bytes where it says;
  ///   those of mapping and of reading.
  [[nodiscard]] Result<Blob> view(const BlobHandle& handle) const;

  /// What pages the system has given to the segment of a blob: see huge_page_bytes(), also for what
  /// blocks. Of nothing for what is spilled, small or not known.
  [[nodiscard]] PageShare pages_of(const BlobHandle& handle) const;

  /// Takes a blob that the job kept in an earlier epoch, on whichever host: found, and released, by
  /// the handle that it had then. Its bytes are copied, to a file in `spill_directory` unless that
  /// is empty.
  /// Errors: kFailedPrecondition for a handle of another job, or of this epoch or a later;
  ///   kAlreadyExists for one that is there; those of making a segment.
  Status restore(const BlobHandle& handle, Place home, std::span<const std::byte> bytes,
                 const std::string& spill_directory = {});

  /// The same for `client` to map, which has a reference from here on.
  /// Errors: those of find(); kFailedPrecondition when it is gone.
  [[nodiscard]] Result<std::pair<int, Place>> fetch(std::uint32_t client, const BlobHandle& handle);

  /// `client` ends one reference, of its publish() or of a fetch(). A segment that nobody has and
  /// the job does not keep goes. What it does not have is ignored.
  void let_go(std::uint32_t client, const BlobHandle& handle);

  /// The client's process is dead: drops those of its blobs that are not kept, and refuses what it
  /// may still have under way.
  void client_gone(std::uint32_t client);

  /// Blobs with a segment of their own and those in slabs that are kept, and the memory of all:
  /// slabs count as a whole.
  [[nodiscard]] BlobStoreUsage usage() const noexcept;

 private:
  struct Segment {
    BlobHandle handle;
    Place home;
    UniqueFd descriptor;
    std::uint32_t client = 0;
    bool spilled = false;
    bool kept = false;
    std::map<std::uint32_t, std::uint64_t> references = {};  // By client; none is 0.
  };
  struct Client {
    std::vector<bool> used;  // By number less first_segment: a number names one blob, once.
    bool gone = false;
  };

  [[nodiscard]] Status check_claim(std::uint32_t client, const BlobHandle& handle,
                                   Place home) const;
  [[nodiscard]] Status check_number(std::uint32_t client, std::uint32_t segment) const;
  void mark_used(std::uint32_t client, std::uint32_t segment);
  [[nodiscard]] std::uint64_t& bytes_like(const Segment& segment) noexcept;
  void forget(const Segment& segment) noexcept;
  [[nodiscard]] static bool is_unused(const Segment& segment) noexcept {
    return !segment.kept && segment.references.empty();
  }
  [[nodiscard]] Status check_known(const BlobHandle& handle) const;
  [[nodiscard]] bool is_earlier(const BlobHandle& handle) const noexcept {
    return handle.job == identity_.job && handle.epoch < identity_.epoch;
  }
  [[nodiscard]] Result<const Segment*> find_restored(const BlobHandle& handle) const;

  BlobStoreIdentity identity_;
  std::uint32_t segments_per_client_;
  std::unordered_map<std::uint32_t, Segment> segments_;
  /// By epoch, host, segment, index and generation.
  using EarlierHandle =
      std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, std::uint64_t>;
  [[nodiscard]] static EarlierHandle key_of(const BlobHandle& handle) noexcept {
    return {handle.epoch, handle.host, handle.segment, handle.index, handle.generation};
  }
  std::map<EarlierHandle, Segment> restored_;
  std::unordered_map<std::uint32_t, Client> clients_;
  BlobStoreUsage usage_;  // Without slabs.
  std::unique_ptr<SlabTable> slabs_;
};

}  // namespace pinion
