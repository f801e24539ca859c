#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <pinion/core/blob_store.hpp>
#include <pinion/core/page_pool.hpp>
#include <pinion/core/status.hpp>

#include "engine/record_table.hpp"
#include "engine/sort_key.hpp"
#include "engine/sort_work.hpp"

namespace pinion::engine {

/// One range of keys of a sort: takes its chunks from all batches and puts their records in order,
/// in the caches, into the blob that is the answer.
///
/// Thread safety: none for one object.
/// Lifetime: keeps views into the batches until it is sealed.
class SortMerge {
 public:
  /// Borrows `work`.
  explicit SortMerge(const SortWork& work) : work_(work) {}
  ~SortMerge();
  SortMerge(const SortMerge&) = delete;
  SortMerge& operator=(const SortMerge&) = delete;

  /// Errors: kDataLoss for bytes that no batch of this sort sealed.
  [[nodiscard]] Status add(std::span<const std::byte> partition);

  /// Errors: kDataLoss when the batches contradict themselves; kResourceExhausted for more than
  ///   2^32 records; those of the store.
  [[nodiscard]] Result<Blob> seal(IBlobStore& store, Place place);

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept;

 private:
  struct Chunk {
    std::uint64_t shard;
    std::span<const std::byte> records;  // Lines with their line feeds.
  };

  [[nodiscard]] Status enter(std::uint32_t partition);
  [[nodiscard]] Status order_chunks();
  [[nodiscard]] Status collect();
  [[nodiscard]] RecordTable find_records();
  [[nodiscard]] Status check(const RecordTable& records) const;
  [[nodiscard]] Result<Blob> gather(std::span<const std::uint64_t> order,
                                    const RecordTable& records, IBlobStore& store,
                                    Place place) const;

  const SortWork& work_;
  std::optional<std::uint32_t> partition_;
  std::vector<Chunk> chunks_;
  std::uint64_t size_bytes_ = 0;  // Of all chunks.

  Pages pages_;                          // The records in the order of the input.
  std::vector<RecordBytes> views_;       // Of records that are not side by side, or lines.
  std::vector<std::uint64_t> prefixes_;  // Of all records.
};

}  // namespace pinion::engine
