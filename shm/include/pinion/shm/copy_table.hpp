#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/blob_memory.hpp>
#include <pinion/shm/blob_store_identity.hpp>
#include <pinion/shm/segment_table.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// A copy of another host's blob while its bytes arrive.
struct BlobCopy {
  BlobWriter writer;  ///< The Blob that its seal() gives names the blob and has no bytes.

  /// What seal() has made; invalid before that. Read it after seal() has returned.
  std::shared_ptr<UniqueFd> segment;
};

struct CopyTableOptions {
  BlobStoreIdentity identity = {};
  std::uint32_t host_count = 1;

  /// Copies that nobody reads go, those first that were not read for longest, when copies would
  /// take more memory than this. What still does not fit is a file.
  std::uint64_t memory_bytes_max = std::numeric_limits<std::uint64_t>::max();

  std::string spill_directory = {};  ///< Empty: what does not fit into memory is refused.

  /// What the system could give at this moment; empty: it is not asked.
  std::function<std::uint64_t()> available_bytes = {};
};

/// Copies of other hosts' blobs on this one, by the handles of the originals; each has a segment of
/// its own. The agent's half of what a rank's store opens of other hosts.
///
///     Result<BlobCopy> copy = table.make(handle, home, memory);  // somebody fills and seals it
///     table.add(handle, home, std::move(*copy->segment));
///     table.fetch(client, handle);                               // for a rank to map
///
/// Thread safety: none; one thread drives it. A BlobCopy may be filled and sealed by another.
/// Lifetime: closes its descriptors at the end; memory that somebody has mapped stays until then.
class CopyTable {
 public:
  explicit CopyTable(CopyTableOptions options);
  ~CopyTable();

  /// Whether the handle can name a blob that another host of the job has (host_with()).
  /// Errors: kFailedPrecondition for another job or a later epoch, for what this host itself has,
  ///   and for a host that the job does not have; kResourceExhausted for more bytes than can be
  ///   mapped.
  [[nodiscard]] Status check(const BlobHandle& handle) const;

  /// Room for a copy of that blob. `memory` may be null.
  /// Errors: those of check(); kResourceExhausted when neither memory nor disk has room.
  [[nodiscard]] Result<BlobCopy> make(const BlobHandle& handle, Place home,
                                      const BlobMemory* memory);

  /// Takes a sealed copy.
  /// Errors: those of check(); kAlreadyExists when the blob is here; those of a segment that is not
  ///   sealed or is another's. The descriptor is closed then.
  Status add(const BlobHandle& handle, Place home, UniqueFd segment);

  [[nodiscard]] bool has(const BlobHandle& handle) const;

  /// The segment for `client` to map, which has a reference from here on, and the place it lies at.
  /// The descriptor stays the table's.
  /// Errors: those of check(); kNotFound when no copy is here; kInvalidArgument when the length
  ///   differs.
  [[nodiscard]] Result<std::pair<int, Place>> fetch(std::uint32_t client, const BlobHandle& handle);

  /// The bytes of a copy that is here. They stay as they are while the descriptor is open.
  /// Errors: those of fetch().
  [[nodiscard]] Result<BlobFilePart> file_part_of(const BlobHandle& handle) const;

  /// Fills `into` with a part of a copy that is here.
  /// Precondition: the part is inside, and `into` has its size. Errors: those of fetch() and of
  /// reading.
  [[nodiscard]] Status read(const BlobPart& part, std::span<std::byte> into) const;

  /// `client` ends one reference, of a fetch(). What it does not have is ignored.
  void let_go(std::uint32_t client, const BlobHandle& handle);

  /// The original is gone: the copy goes with its last reference.
  void release(const BlobHandle& handle);

  /// The client's process is dead.
  void client_gone(std::uint32_t client);

  [[nodiscard]] BlobStoreUsage usage() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pinion
