#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include <pinion/core/bind_memory.hpp>
#include <pinion/core/blob.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/shm/shared_blob_store.hpp>

#include "free_ranges.hpp"
#include "mapped_slab.hpp"
#include "memory_mapping.hpp"
#include "reference_row.hpp"

namespace pinion {

/// The slabs that this process writes: makes blobs in them and uses their memory again once nobody
/// has a reference. What is free is known here only, so that a blob costs no system call.
///
/// Thread safety: all members may be called from any thread. A thread that lacks memory asks the
///   agent for a slab while others wait.
/// Lifetime: owned by the store and its blobs together. Only allocate() uses the exchange.
class SlabWriter : public std::enable_shared_from_this<SlabWriter> {
 public:
  /// `next_segment` gives the numbers of new slabs.
  SlabWriter(BlobStoreIdentity identity, SlabExchange exchange, BindMemory bind_memory,
             std::shared_ptr<ReferenceRow> row,
             std::function<Result<std::uint32_t>()> next_segment);

  /// Memory for one blob, in phase writing and zeroed. seal() or abandon() ends it.
  struct Block {
    BlobHandle handle;  // What the blob will be called.
    Place home;
    std::span<std::byte> bytes = {};
  };

  /// Empty when there is no slab for it, and the agent gives none: for whatever reason, the blob
  /// then needs a segment of its own.
  [[nodiscard]] std::optional<Block> allocate(std::uint64_t length_bytes, Place home)
      PINION_EXCLUDES(mutex_);
  [[nodiscard]] Blob seal(const Block& block, BlobShare share) PINION_EXCLUDES(mutex_);
  void abandon(const Block& block) PINION_EXCLUDES(mutex_);

  /// A blob of ours by handle; null when the segment is none of our slabs.
  [[nodiscard]] Result<std::shared_ptr<const SlabBlob>> open(const BlobHandle& handle)
      PINION_EXCLUDES(mutex_);

  /// This process has dropped its last reference: the memory is used again if nobody else has one.
  void unreferenced(const BlobHandle& handle) noexcept PINION_EXCLUDES(mutex_);

 private:
  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t size_bytes = 0;
  };
  struct Slab {
    std::shared_ptr<const MappedSlab> mapped;
    MemoryMapping writable = {};
    Place home = {};
    FreeRanges free;
    std::vector<std::uint32_t> free_indices = {};
    std::vector<Range> ranges = {};  // By index.
    std::vector<std::weak_ptr<const SlabBlob>> living = {};
    std::uint64_t used_end = 0;  // Memory from here on is as the system gave it: zeros.

    [[nodiscard]] SlabDescriptor& descriptor(std::uint32_t index) const noexcept;
  };
  struct ForeignRow {
    std::uint32_t subscriber = 0;
    std::shared_ptr<ReferenceRow> row = {};
  };
  enum class Asking : std::uint8_t { kNo, kYes };

  [[nodiscard]] std::optional<Block> take_block(std::uint64_t length_bytes, Place home)
      PINION_REQUIRES(mutex_);
  [[nodiscard]] Block begin_block(Slab& slab, std::uint32_t segment, std::uint64_t length_bytes,
                                  std::uint64_t offset) PINION_REQUIRES(mutex_);
  void reclaim(Place home) PINION_REQUIRES(mutex_);
  void give_back_empty_slabs(Place home) PINION_REQUIRES(mutex_);
  bool grow(Place home) PINION_REQUIRES(mutex_);
  [[nodiscard]] Result<std::uint32_t> add_slab(Place home, std::uint64_t size_bytes)
      PINION_REQUIRES(mutex_);
  [[nodiscard]] Status map_slab(std::uint32_t segment, const SlabGrant& grant, Place home,
                                std::uint64_t size_bytes) PINION_REQUIRES(mutex_);
  bool try_to_free(Slab& slab, std::uint32_t index, Asking asking) PINION_REQUIRES(mutex_);
  void free_block(Slab& slab, std::uint32_t index) PINION_REQUIRES(mutex_);
  [[nodiscard]] bool is_referenced(const Slab& slab, std::uint32_t index, std::uint64_t generation,
                                   Asking asking) PINION_REQUIRES(mutex_);
  [[nodiscard]] ReferenceRow* row_of(std::uint32_t client_slot, std::uint32_t subscriber,
                                     Asking asking) PINION_REQUIRES(mutex_);

  const BlobStoreIdentity identity_;
  const SlabExchange exchange_;
  const BindMemory bind_memory_;
  const std::shared_ptr<ReferenceRow> row_;
  const std::function<Result<std::uint32_t>()> next_segment_;

  mutable Mutex mutex_;
  std::unordered_map<std::uint32_t, Slab> slabs_ PINION_GUARDED_BY(mutex_);
  std::vector<std::uint32_t> order_ PINION_GUARDED_BY(mutex_);  // The newest last.
  std::array<ForeignRow, kClientSlotCount> foreign_rows_ PINION_GUARDED_BY(mutex_);
  std::uint32_t refusals_to_skip_ PINION_GUARDED_BY(mutex_) = 0;
};

}  // namespace pinion
