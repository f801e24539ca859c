#pragma once

#include <cstdint>
#include <memory>

#include <pinion/core/bind_memory.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/memory_ledger.hpp>
#include <pinion/shm/blob_store_identity.hpp>
#include <pinion/shm/spill.hpp>

namespace pinion {

/// The blob store of a job that is one process: private memory, made read-only at seal(), or
/// files on disk where the ledger has no room.
///
/// A sealed blob can be found by its handle while a Blob of it lives or the job keeps it, and its
/// memory goes back when neither is the case. Payload bytes are charged to the ledger from create()
/// on.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: writers and blobs may outlive the store.
class LocalBlobStore final : public IBlobStore {
 public:
  LocalBlobStore(BlobStoreIdentity identity, MemoryLedger memory, BindMemory bind_memory = {},
                 SpillOptions spill = {});
  ~LocalBlobStore() override;

  [[nodiscard]] Result<BlobWriter> create(std::uint64_t size_bytes, Place place) override;
  [[nodiscard]] Result<Blob> open(const BlobHandle& handle) override;
  void discard(const BlobHandle& handle, std::uint64_t offset, std::uint64_t length_bytes) override;
  [[nodiscard]] BlobStoreUsage usage() const override;

  /// The blob stays until release(), whoever drops it. Keeping it twice is keeping it once.
  /// Errors: those of open().
  Status keep(const BlobHandle& handle);

  /// The job needs the blob no longer. A handle that is not kept is ignored.
  void release(const BlobHandle& handle);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// A store for a job of one process, with a ledger of its own.
std::unique_ptr<LocalBlobStore> make_local_blob_store(BlobStoreIdentity identity,
                                                      std::uint64_t budget_bytes);

}  // namespace pinion
