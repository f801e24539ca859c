#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <pinion/core/blob_store.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/shard.hpp>

#include "engine/sort_key.hpp"
#include "engine/sort_partial.hpp"
#include "engine/sort_ranges.hpp"

namespace pinion::engine {

/// What all batches of a sort share. Constant while the step runs.
struct SortWork {
  IBlobStore& store;
  KeyReader keys;
  SortRanges ranges;
  std::uint64_t batch_bytes = 0;        ///< Most memory to take for a batch at once.
  std::uint64_t batch_shard_count = 1;  ///< Most shards in a batch.
  std::uint64_t seal_bytes = 0;         ///< Memory at which the engine seals a batch.
};

/// The records of a batch, written once, into the blob that becomes the batch's partial.
///
/// Thread safety: none for one object.
class SortBatch {
 public:
  /// Borrows `work`.
  explicit SortBatch(const SortWork& work) : work_(work) {}

  /// Copies the records of a shard. Memory comes from the store, at `place`.
  /// Errors: kInvalidArgument for a shard that does not hold whole records; kResourceExhausted for
  ///   more than 2^32 records; those of the store. The batch is then spoiled.
  [[nodiscard]] Status add(const Shard& shard, Place place);

  /// Errors: those of the store.
  [[nodiscard]] Result<Blob> seal(Place place);

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept;

  /// Whether one more shard like the last needs more memory than was taken for the batch.
  [[nodiscard]] bool is_full() const noexcept;

 private:
  [[nodiscard]] Status reserve(std::uint64_t more_bytes, Place place);
  [[nodiscard]] Status move_to_writer(std::uint64_t size_bytes, Place place);
  void add_fixed(std::span<const std::byte> records);
  void add_lines(std::span<const std::byte> records);
  void add_entry(std::uint64_t prefix);
  void write_entries(const SortPartialLayout& layout) const;

  const SortWork& work_;
  std::optional<BlobWriter> writer_;
  std::span<std::byte> blob_;  // Of the writer.
  std::uint64_t begin_ = 0;    // Of the records, in the blob.
  std::uint64_t size_bytes_ = 0;
  std::uint64_t last_shard_bytes_ = 0;
  std::uint64_t planned_bytes_ = 0;  // Of records, for which memory was taken.
  std::vector<SortRun> runs_;
  std::vector<std::uint64_t> ends_;
  std::vector<std::uint64_t> prefixes_;
  std::vector<std::uint32_t> ranges_;  // Of each record; parallel to prefixes_.
  std::vector<std::uint32_t> counts_;  // Of each range.
};

}  // namespace pinion::engine
