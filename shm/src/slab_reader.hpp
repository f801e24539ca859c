#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/shm/shared_blob_store.hpp>

#include "mapped_slab.hpp"
#include "reference_row.hpp"

namespace pinion {

/// The slabs of other processes that this one has mapped. A slab is fetched once; it is unmapped
/// when its owner has let go of it and no blob of it is in use here.
///
/// Thread safety: all members may be called from any thread.
class SlabReader {
 public:
  SlabReader(BlobStoreIdentity identity, SlabExchange exchange, std::shared_ptr<ReferenceRow> row)
      : identity_(identity), exchange_(std::move(exchange)), row_(std::move(row)) {}

  /// Blocks: for a round trip when the slab is not mapped.
  /// Errors: those of MappedSlab::map() and take(), and of the exchange.
  [[nodiscard]] Result<std::shared_ptr<const SlabBlob>> open(const BlobHandle& handle)
      PINION_EXCLUDES(mutex_);

 private:
  [[nodiscard]] Result<std::shared_ptr<const MappedSlab>> slab_of(const BlobHandle& handle)
      PINION_EXCLUDES(mutex_);

  const BlobStoreIdentity identity_;
  const SlabExchange exchange_;
  const std::shared_ptr<ReferenceRow> row_;
  Mutex mutex_;
  std::unordered_map<std::uint32_t, std::shared_ptr<const MappedSlab>> slabs_
      PINION_GUARDED_BY(mutex_);
};

}  // namespace pinion
