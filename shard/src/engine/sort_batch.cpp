#include "engine/sort_batch.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include <pinion/core/assert.hpp>

#include "engine/copy_record.hpp"
#include "engine/record_table.hpp"

namespace pinion::engine {
namespace {

// Far enough for the lines that a record goes to to come, and to be ours alone.
constexpr std::size_t kPrefetchDistance = 8;

}  // namespace

Status SortBatch::add(const Shard& shard, Place place) {
  const std::span<const std::byte> records = shard.bytes();
  const RecordForm& form = work_.keys.form();
  const bool is_cut = !form.is_lines() && (records.size() % form.record_bytes != 0 ||
                                           records.size() != shard.end() - shard.begin());
  if (is_cut) {
    return Status(ErrorCode::kInvalidArgument,
                  "a shard has " + std::to_string(records.size()) + " bytes from " +
                      std::to_string(shard.begin()) + " on, which are not whole records of " +
                      std::to_string(form.record_bytes) +
                      " bytes; cut by a multiple of that, and sort files of whole records");
  }
  if (records.size() > std::numeric_limits<std::uint32_t>::max()) {
    return Status(ErrorCode::kResourceExhausted,
                  "a sort takes shards of up to 2^32 bytes, this one has " +
                      std::to_string(records.size()) + "; cut smaller shards");
  }
  // A line feed more, for a last line without one.
  PINION_RETURN_IF_ERROR(reserve(records.size() + 1, place));
  range_bytes_.assign(work_.ranges.count(), 0);
  ranges_.clear();
  sizes_.clear();
  form.is_lines() ? find_lines(records) : find_fixed(records);
  place_chunks(shard.id());
  form.is_lines() ? copy_lines(records) : copy_fixed(records);
  last_shard_bytes_ = records.size();
  return {};
}

std::uint32_t SortBatch::group_count() const noexcept {
  return work_.discard == nullptr ? 1 : work_.discard->group_count();
}

// What a batch of one more shard takes at most: each group may leave the end of an extent unused.
std::uint64_t SortBatch::bytes_for(std::uint64_t more_bytes) const noexcept {
  return size_bytes_ + more_bytes + group_count() * (work_.extent_bytes - 1);
}

Status SortBatch::reserve(std::uint64_t more_bytes, Place place) {
  const std::uint64_t needed = bytes_for(more_bytes);
  if (writer_ && needed <= planned_bytes_) {
    return {};
  }
  const std::uint32_t range_count = work_.ranges.count();
  begin_ = sort_records_offset(range_count);
  if (writer_) {
    planned_bytes_ = 2 * needed;
  } else {
    rooms_.resize(group_count());
    const bool is_bounded = work_.batch_shard_count < work_.batch_bytes / needed;
    planned_bytes_ =
        std::max(needed, is_bounded ? needed * work_.batch_shard_count : work_.batch_bytes);
  }
  // The lists are guessed, as the blob is made before they are: that each shard is like this one
  // and has records in all ranges, but no chunk is tiny. Too little costs a copy of the batch.
  constexpr std::uint64_t kChunkBytes = 128;
  const std::uint64_t shard_count = planned_bytes_ / more_bytes + 1;
  const std::uint64_t chunk_count =
      std::min(shard_count * range_count, planned_bytes_ / kChunkBytes);
  return move_to_writer(begin_ + planned_bytes_ + sort_lists_bytes(range_count, chunk_count),
                        place);
}

Status SortBatch::move_to_writer(std::uint64_t size_bytes, Place place) {
  Result<BlobWriter> writer = work_.store.create(size_bytes, place);
  if (!writer) {
    return std::move(writer).error();
  }
  if (writer_) {
    std::memcpy(writer->bytes().data() + begin_, blob_.data() + begin_, size_bytes_);
  }
  writer_ = std::move(*writer);
  blob_ = writer_->bytes();
  return {};
}

void SortBatch::find_fixed(std::span<const std::byte> records) {
  const RecordTable table(records, work_.keys.form().record_bytes);
  ranges_.resize(table.size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    ranges_[i] = range_of(table[i], table[i].size());
  }
}

void SortBatch::find_lines(std::span<const std::byte> records) {
  for (std::size_t begin = 0; begin < records.size();) {
    const void* const feed = std::memchr(records.data() + begin, '\n', records.size() - begin);
    const std::size_t end =
        feed == nullptr
            ? records.size()
            : static_cast<std::size_t>(static_cast<const std::byte*>(feed) - records.data());
    sizes_.push_back(static_cast<std::uint32_t>(end - begin));
    ranges_.push_back(range_of(records.subspan(begin, end - begin), end - begin + 1));
    begin = end + 1;
  }
}

// The range of a record that takes so many bytes.
std::uint32_t SortBatch::range_of(RecordBytes record, std::size_t size_bytes) {
  const std::uint32_t range = work_.ranges.of(work_.keys.prefix(record));
  range_bytes_[range] += size_bytes;
  return range;
}

// Ranges of a group lie one behind the other.
void SortBatch::place_chunks(std::uint64_t shard) {
  next_.resize(range_bytes_.size());
  for (std::uint32_t range = 0; range < range_bytes_.size(); ++range) {
    const std::uint64_t chunk_bytes = range_bytes_[range];
    if (chunk_bytes > 0) {
      const std::uint32_t group = work_.discard == nullptr ? 0 : work_.discard->group_of(range);
      const std::uint64_t offset = take_room(group, chunk_bytes);
      next_[range] = blob_.data() + begin_ + offset;
      chunks_.push_back({range, {.shard = shard, .offset = offset, .size_bytes = chunk_bytes}});
    }
  }
}

// Where a chunk of the group goes: into its last extent, or into as many new ones as it needs.
std::uint64_t SortBatch::take_room(std::uint32_t group, std::uint64_t chunk_bytes) {
  Room& room = rooms_[group];
  if (room.end - room.begin < chunk_bytes) {
    // Extents begin at multiples of their size in the blob.
    const std::uint64_t begin = begin_ + size_bytes_;
    const std::uint64_t end =
        (begin + chunk_bytes + work_.extent_bytes - 1) / work_.extent_bytes * work_.extent_bytes;
    room = {.begin = size_bytes_, .end = end - begin_};
    size_bytes_ = room.end;
    extents_.push_back({.group = group, .offset = begin, .length_bytes = end - begin});
  }
  const std::uint64_t offset = room.begin;
  room.begin += chunk_bytes;
  return offset;
}

void SortBatch::copy_fixed(std::span<const std::byte> records) noexcept {
  const std::uint32_t width = work_.keys.form().record_bytes;
  const std::byte* from = records.data();
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    if (i + kPrefetchDistance < ranges_.size()) {
      const std::byte* const ahead = next_[ranges_[i + kPrefetchDistance]];
      __builtin_prefetch(ahead, 1);
      __builtin_prefetch(ahead + 64, 1);
    }
    std::byte*& out = next_[ranges_[i]];
    copy_record(out, {from, width});
    out += width;
    from += width;
  }
}

void SortBatch::copy_lines(std::span<const std::byte> records) noexcept {
  const std::byte* from = records.data();
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    std::byte*& out = next_[ranges_[i]];
    copy_record(out, {from, sizes_[i]});
    out[sizes_[i]] = std::byte('\n');
    out += sizes_[i] + 1;
    from += sizes_[i] + 1;
  }
}

Result<Blob> SortBatch::seal(Place place) {
  std::vector<std::uint32_t> counts(work_.ranges.count());
  for (const RangeChunk& of : chunks_) {
    ++counts[of.range];
  }
  const SortPartialSizes sizes = {.records_bytes = size_bytes_, .chunk_counts = counts};
  const SortPartialLayout layout = layout_sort_partial(sizes);
  begin_ = layout.records;
  if (!writer_ || blob_.size() < layout.table.size_bytes) {
    PINION_RETURN_IF_ERROR(move_to_writer(layout.table.size_bytes, place));
  }
  std::vector<std::uint64_t> next = layout.chunks;
  for (const RangeChunk& of : chunks_) {
    std::memcpy(blob_.data() + next[of.range], &of.chunk, sizeof(of.chunk));
    next[of.range] += sizeof(of.chunk);
  }
  write_sort_footers(blob_, layout, sizes, work_.keys.form().record_bytes);
  Result<Blob> sealed = writer_->seal();
  if (sealed && work_.discard != nullptr) {
    const std::uint64_t used_bytes = layout.table.size_bytes;
    work_.store.discard(sealed->handle(), used_bytes, sealed->handle().length_bytes - used_bytes);
    work_.discard->add_batch(sealed->handle(), extents_);
  }
  return sealed;
}

std::uint64_t SortBatch::memory_bytes() const noexcept {
  return chunks_.capacity() * sizeof(RangeChunk) +
         (ranges_.capacity() + sizes_.capacity()) * sizeof(std::uint32_t);
}

bool SortBatch::is_full() const noexcept {
  return writer_ && bytes_for(last_shard_bytes_ + 1) > planned_bytes_;
}

}  // namespace pinion::engine
