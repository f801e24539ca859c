#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shard/partitioned_blob.hpp>

#include "engine/sort_key.hpp"

// The sealed form of a batch of a sort: the records, then for each partition the list of its chunks
// and a footer. The records of a shard lie together, those of one partition side by side and in the
// order of the input: a chunk. A partition is all bytes from the first record to its footer, so
// that it can be read on its own although nothing is there twice.

namespace pinion::engine {

/// The records that a shard has in a partition.
struct SortChunk {
  std::uint64_t shard = 0;
  std::uint64_t offset = 0;  ///< From the first record of the batch.
  std::uint64_t size_bytes = 0;
};
static_assert(sizeof(SortChunk) == 24);

/// Where the parts of a sealed batch lie in its blob.
struct SortPartialLayout {
  std::uint64_t records = 0;
  std::vector<std::uint64_t> chunks = {};  ///< Of each partition.
  PartitionedLayout table = {};
};

/// What a batch holds.
struct SortPartialSizes {
  std::uint64_t records_bytes = 0;                   ///< Of all chunks with what lies between them.
  std::span<const std::uint32_t> chunk_counts = {};  ///< Of each partition.
};

/// Where the records begin in a blob with that many partitions, whatever else is in it.
[[nodiscard]] std::uint64_t sort_records_offset(std::uint32_t partition_count);

/// Memory that a batch takes beside its records.
[[nodiscard]] std::uint64_t sort_lists_bytes(std::uint32_t partition_count,
                                             std::uint64_t chunk_count);

[[nodiscard]] SortPartialLayout layout_sort_partial(const SortPartialSizes& sizes);

/// Writes the table and the footers; records and chunks are written before.
/// Precondition: `blob` is at least as long as the layout says.
void write_sort_footers(std::span<std::byte> blob, const SortPartialLayout& layout,
                        const SortPartialSizes& sizes, std::uint32_t record_width);

/// One partition of a sealed batch. Its chunks lie inside its records; what they hold is not
/// checked.
///
/// Thread safety: immutable.
/// Lifetime: borrows the partition.
class SortPartialView {
 public:
  /// Errors: kDataLoss for bytes that are not of this form, or for records of another width.
  [[nodiscard]] static Result<SortPartialView> open(std::span<const std::byte> partition,
                                                    std::uint32_t record_width);

  /// Which partition of its batch it is.
  [[nodiscard]] std::uint32_t partition() const noexcept { return partition_; }
  [[nodiscard]] std::span<const SortChunk> chunks() const noexcept { return chunks_; }

  /// One record or more, lines with their line feeds.
  [[nodiscard]] std::span<const std::byte> records(const SortChunk& chunk) const noexcept {
    return records_.subspan(chunk.offset, chunk.size_bytes);
  }

 private:
  std::uint32_t partition_ = 0;
  std::span<const std::byte> records_;
  std::span<const SortChunk> chunks_;
};

[[nodiscard]] Status sort_data_loss(const std::string& what);

}  // namespace pinion::engine
