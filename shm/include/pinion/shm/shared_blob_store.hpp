#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include <pinion/core/bind_memory.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/memory_ledger.hpp>
#include <pinion/shm/blob_memory.hpp>
#include <pinion/shm/blob_store_identity.hpp>
#include <pinion/shm/spill.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// A slab as the agent passes it: memory in which one process of the host makes many small blobs.
struct SlabGrant {
  UniqueFd descriptor = {};
  Place home = {};
  std::uint32_t slot = 0;  ///< Where its counters are in the row of each process.
};

/// How a rank's store reaches the owner of its host's slabs (SegmentTable, in the agent). All
/// functions may be called from any thread, several at once, and block for a round trip, but for
/// give_back().
struct SlabExchange {
  /// A new slab for this process to write, with that number out of its own. Empty: this process
  /// makes and reads no blobs in slabs.
  std::function<Result<SlabGrant>(std::uint32_t segment, Place home, std::uint64_t size_bytes)>
      make = {};

  /// The slab in which the blob behind a handle lies, to read it.
  std::function<Result<SlabGrant>(const BlobHandle& handle)> fetch = {};

  /// The references of another process, which it writes and we read.
  std::function<Result<UniqueFd>(std::uint32_t client)> fetch_row = {};

  /// Nothing is left in a slab that this process wrote. Waits for no answer.
  std::function<void(std::uint32_t segment)> give_back = {};
};

/// How a rank's store reaches the owner of its host's segments (SegmentTable, in the agent). Both
/// functions may be called from any thread, several at once, and block for a round trip.
struct SegmentExchange {
  /// Makes a sealed segment known. The descriptor stays the store's.
  std::function<Status(const BlobHandle& handle, Place home, int descriptor)> publish;

  /// The segment behind a handle and the place it lies at on this host. Blocks until it is here,
  /// where another host made it.
  std::function<Result<std::pair<UniqueFd, Place>>(const BlobHandle& handle)> fetch;

  /// Begins to fill memory that make_part_room() has made with parts of blobs that other hosts
  /// have, and returns what waits until all are there. That may be dropped instead. May be empty:
  /// such blobs are then fetched whole.
  std::function<std::function<Status()>(std::span<const BlobPart> parts, int room)> fetch_parts =
      {};

  /// The memory that all segments of the host hold, by what the owner said last. May be empty. Does
  /// not block.
  std::function<std::uint64_t()> held_bytes = {};

  /// The same, asked of the owner now; blocks for a round trip. May be empty.
  std::function<std::uint64_t()> ask_held_bytes = {};

  /// This process has no more use for a segment that it published or fetched: called once for each
  /// publish and each fetch that succeeded, and not after the store is gone. Waits for no answer.
  /// May be empty: the owner then takes this process to have it until it ends.
  std::function<void(const BlobHandle& handle)> let_go = {};

  SlabExchange slabs = {};
};

/// Calls `body` for each number below `count`, by as many threads of the place as are free; all
/// calls have returned when it does.
using ForEachAt = std::function<void(Place place, std::size_t count,
                                     const std::function<void(std::size_t)>& body)>;

struct SharedBlobStoreOptions {
  BlobStoreIdentity identity = {};

  /// Hosts of the job. Blobs of the others are opened as well, through SegmentExchange::fetch,
  /// which gives a copy with a segment of its own.
  std::uint32_t host_count = 1;

  /// The store numbers its segments from `first_segment`, at most `segment_count` of them. No two
  /// processes of a host and job have a number in common.
  std::uint32_t first_segment = 0;
  std::uint32_t segment_count = 0;

  /// Charged with the payload bytes of writers and blobs that this store has made. Without one,
  /// the store only reads.
  MemoryLedger memory = MemoryLedger({});

  SpillOptions spill = {};

  /// A blob with which the host's segments would hold more memory than this is spilled, as what the
  /// owner holds is charged to nobody's ledger.
  std::uint64_t held_bytes_max = std::numeric_limits<std::uint64_t>::max();

  /// What the system could give at this moment: a large blob that would take more than that is
  /// spilled, as the system answers a lack of memory by ending processes. Called from any thread.
  /// May be empty.
  std::function<std::uint64_t()> available_bytes = {};

  /// How long create() waits for memory to be let go of before it answers kResourceExhausted.
  Duration memory_wait = Duration::zero();

  /// May be empty: memory then lies where the system puts it.
  BindMemory bind_memory = {};

  /// Enters and clears the memory of large blobs in small pages, at their place, before they are
  /// written. May be empty: the thread that makes a blob does it.
  ForEachAt for_each_at = {};

  /// Where large blobs lie; shared by all processes of the host. Empty: each is a memfd, in the
  /// pages that the system gives for that.
  std::shared_ptr<const BlobMemory> blob_memory = {};

  /// What is smaller is a memfd all the same.
  std::uint64_t blob_memory_bytes_min = std::uint64_t{256} << 10;

  /// Of this process's references (SegmentTable::admit()); mapped while the store is made, and not
  /// used afterwards. Without it there are no slabs.
  int row_descriptor = -1;
};

/// The rank's half of a host's blob store. Small blobs lie in slabs: making, sealing and opening
/// them is a matter of a few stores to shared memory once the slab is mapped. Larger ones lie in
/// sealed, nameless segments of their own that any process of the host maps read-only, or in
/// nameless files on disk where the ledger has no room. docs/adr/0012 says how, and whom that
/// trusts.
///
/// A blob can be found by its handle while a Blob of it lives in any process of the host or the job
/// keeps it; after that its memory is used again. One that nobody keeps is found no more once the
/// process that made it has ended.
///
/// A blob is charged to the ledger from create() until its writer or its last Blob in this process
/// is gone; from seal() on the memory of a large one is also the agent's, which decides how long it
/// lives. create() waits for SharedBlobStoreOptions::memory_wait where there is no room.
/// Lifetime: writers and blobs may outlive the store; `exchange` is called until the store is gone
///   and the last writer is sealed or dropped.
/// Errors: open() answers kFailedPrecondition for a segment that is not sealed and kDataLoss for
///   one that belongs to another handle; seal() answers kResourceExhausted when the numbers or the
///   descriptors of this process are used up, and the errors of `exchange`.
std::unique_ptr<IBlobStore> make_shared_blob_store(const SharedBlobStoreOptions& options,
                                                   SegmentExchange exchange);

}  // namespace pinion
