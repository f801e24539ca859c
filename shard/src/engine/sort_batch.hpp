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
#include "engine/sort_work.hpp"

namespace pinion::engine {

/// The records of a batch, written once, into the blob that becomes the batch's partial: those of a
/// shard by ranges of keys, so that a range is read from few places when it is merged.
///
/// Thread safety: none for one object.
class SortBatch {
 public:
  /// Borrows `work`.
  explicit SortBatch(const SortWork& work) : work_(work) {}

  /// Copies the records of a shard. Memory comes from the store, at `place`.
  /// Errors: kInvalidArgument for a shard that does not hold whole records; those of the store. The
  ///   batch is then spoiled.
  [[nodiscard]] Status add(const Shard& shard, Place place);

  /// Errors: those of the store.
  [[nodiscard]] Result<Blob> seal(Place place);

  /// Beside the blob.
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept;

  /// Whether one more shard like the last needs more memory than was taken for the batch.
  [[nodiscard]] bool is_full() const noexcept;

 private:
  struct RangeChunk {
    std::uint32_t range;
    SortChunk chunk;
  };
  // Bytes of the blob, counted from the first record, that are taken but not used yet.
  struct Room {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };

  [[nodiscard]] Status reserve(std::uint64_t more_bytes, Place place);
  [[nodiscard]] Status move_to_writer(std::uint64_t size_bytes, Place place);
  void find_fixed(std::span<const std::byte> records);
  void find_lines(std::span<const std::byte> records);
  [[nodiscard]] std::uint32_t range_of(RecordBytes record, std::size_t size_bytes);
  void place_chunks(std::uint64_t shard);
  [[nodiscard]] std::uint64_t take_room(std::uint32_t group, std::uint64_t chunk_bytes);
  [[nodiscard]] std::uint64_t bytes_for(std::uint64_t more_bytes) const noexcept;
  [[nodiscard]] std::uint32_t group_count() const noexcept;
  void copy_fixed(std::span<const std::byte> records) noexcept;
  void copy_lines(std::span<const std::byte> records) noexcept;

  const SortWork& work_;
  std::optional<BlobWriter> writer_;
  std::span<std::byte> blob_;     // Of the writer.
  std::uint64_t begin_ = 0;       // Of the records, in the blob.
  std::uint64_t size_bytes_ = 0;  // Of records, with the room that is taken for more.
  std::uint64_t last_shard_bytes_ = 0;
  std::uint64_t planned_bytes_ = 0;  // Of records, for which memory was taken.
  std::vector<RangeChunk> chunks_;
  std::vector<Room> rooms_;          // Of each group of ranges.
  std::vector<SortExtent> extents_;  // Whole ones.

  // Of the shard that is being added.
  std::vector<std::uint32_t> ranges_;       // Of each record.
  std::vector<std::uint32_t> sizes_;        // Of each line, without its line feed.
  std::vector<std::uint64_t> range_bytes_;  // What each range has of it.
  std::vector<std::byte*> next_;            // Where the next record of each range goes.
};

}  // namespace pinion::engine
