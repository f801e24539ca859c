#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shard/partitioned_blob.hpp>

#include "engine/sort_key.hpp"

// The sealed form of a batch of a sort. All partitions share the records, which lie as the shards
// gave them: records, the runs of shards, for lines the ends of records, and then for each
// partition its entries and a footer. A partition is all bytes from the records to its footer, so
// that it can be read on its own although nothing is there twice.

namespace pinion::engine {

/// Where the records of a shard begin.
struct SortRun {
  std::uint64_t shard = 0;
  std::uint64_t first_record = 0;
};
static_assert(sizeof(SortRun) == 16);

/// Where the parts of a sealed batch lie in its blob. Records begin at `records`.
struct SortPartialLayout {
  std::uint64_t records = 0;
  std::uint64_t runs = 0;
  std::uint64_t ends = 0;
  std::vector<std::uint64_t> prefixes = {};  ///< Of each partition; its indices follow.
  PartitionedLayout table = {};
};

/// What a batch holds.
struct SortPartialSizes {
  std::uint64_t record_count = 0;
  std::uint64_t records_bytes = 0;
  std::uint64_t run_count = 0;
  std::span<const std::uint32_t> entry_counts = {};  ///< Of each partition.
  bool has_ends = false;
};

/// Where the records begin in a blob with that many partitions, whatever else is in it.
[[nodiscard]] std::uint64_t sort_records_offset(std::uint32_t partition_count);

[[nodiscard]] SortPartialLayout layout_sort_partial(const SortPartialSizes& sizes);

/// Writes the table and the footers; all else is for the caller to write.
/// Precondition: `blob` is at least as long as the layout says and zero behind the records.
void write_sort_footers(std::span<std::byte> blob, const SortPartialLayout& layout,
                        const SortPartialSizes& sizes, std::uint32_t record_width);

/// One partition of a sealed batch, checked but for its entries.
///
/// Thread safety: immutable.
/// Lifetime: borrows the partition.
class SortPartialView {
 public:
  /// Errors: kDataLoss for bytes that are not of this form, or for records of another width.
  [[nodiscard]] static Result<SortPartialView> open(std::span<const std::byte> partition,
                                                    std::uint32_t record_width);

  [[nodiscard]] std::span<const SortRun> runs() const noexcept { return runs_; }
  [[nodiscard]] std::span<const std::uint64_t> prefixes() const noexcept { return prefixes_; }
  /// The numbers of the records, ascending.
  [[nodiscard]] std::span<const std::uint32_t> indices() const noexcept { return indices_; }

  /// A record by its number, lines with their line feeds; empty when there is none there: then the
  /// partition is damaged.
  [[nodiscard]] RecordBytes record(std::uint64_t index) const noexcept {
    if (index >= record_count_) [[unlikely]] {
      return {};
    }
    if (record_width_ > 0) {
      return records_.subspan(index * record_width_, record_width_);
    }
    const std::uint64_t begin = index == 0 ? 0 : ends_[index - 1];
    const std::uint64_t end = ends_[index];
    return begin < end && end <= records_.size() ? records_.subspan(begin, end - begin)
                                                 : RecordBytes();
  }

 private:
  std::uint64_t record_count_ = 0;
  std::uint32_t record_width_ = 0;
  std::span<const std::byte> records_;
  std::span<const SortRun> runs_;
  std::span<const std::uint64_t> ends_;
  std::span<const std::uint64_t> prefixes_;
  std::span<const std::uint32_t> indices_;
};

[[nodiscard]] Status sort_data_loss(const std::string& what);

}  // namespace pinion::engine
