#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <pinion/core/blob_store.hpp>
#include <pinion/core/status.hpp>

#include "engine/sort_key.hpp"
#include "engine/sort_work.hpp"

namespace pinion::engine {

/// One range of keys of a sort: takes its chunks from all batches, and gathers the records in order
/// from where the batches lie into the blob that is the answer.
///
/// Thread safety: none for one object.
/// Lifetime: keeps views into the batches until the records are gathered.
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
  void find_records();
  void add_record(RecordBytes record);
  [[nodiscard]] Status check_records() const;
  [[nodiscard]] Result<Blob> gather(std::span<const std::uint64_t> order, IBlobStore& store,
                                    Place place) const;
  void gather_fixed(std::span<const std::uint64_t> order, std::byte* out) const noexcept;
  void gather_lines(std::span<const std::uint64_t> order, std::byte* ends,
                    std::byte* out) const noexcept;

  const SortWork& work_;
  std::optional<std::uint32_t> partition_;
  std::vector<Chunk> chunks_;
  std::uint64_t size_bytes_ = 0;  // Of all chunks.

  // Of all records, in the order of the input. Lines are without their line feeds.
  std::vector<std::uint64_t> prefixes_;
  std::vector<RecordBytes> records_;
};

}  // namespace pinion::engine
