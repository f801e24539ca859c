#include "engine/sort_batch.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion::engine {
namespace {

// Memory that entries and lines take beside the records, as a share of these: guessed, as the blob
// is made before they are counted. A guess that is too low costs a copy of the batch.
std::uint64_t with_entries(const RecordForm& form, std::uint64_t records_bytes) {
  constexpr std::uint64_t kEntryBytes = 12;
  constexpr std::uint64_t kLineBytes = 40;
  const std::uint64_t record_count =
      records_bytes / (form.is_lines() ? kLineBytes : form.record_bytes) + 1;
  return records_bytes + record_count * (kEntryBytes + (form.is_lines() ? 8 : 0));
}

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
  if (records.size() > std::numeric_limits<std::uint32_t>::max() - prefixes_.size()) {
    return Status(ErrorCode::kResourceExhausted,
                  "a batch of a sort may hold 2^32 bytes of one shard; cut smaller shards");
  }
  counts_.resize(work_.ranges.count());
  // A line feed more, for a last line without one.
  PINION_RETURN_IF_ERROR(reserve(records.size() + 1, place));
  runs_.push_back({.shard = shard.id(), .first_record = prefixes_.size()});
  last_shard_bytes_ = records.size();
  std::memcpy(blob_.data() + begin_ + size_bytes_, records.data(), records.size());
  if (form.is_lines()) {
    add_lines(records);
  } else {
    add_fixed(records);
  }
  return {};
}

Status SortBatch::reserve(std::uint64_t more_bytes, Place place) {
  const std::uint64_t needed = size_bytes_ + more_bytes;
  if (writer_ && needed <= blob_.size() - begin_) {
    return {};
  }
  const RecordForm& form = work_.keys.form();
  if (!writer_) {
    begin_ = sort_records_offset(work_.ranges.count());
    const std::uint64_t footers = std::uint64_t{3} * 64 * work_.ranges.count();
    const bool is_bounded = work_.batch_shard_count < work_.batch_bytes / needed;
    planned_bytes_ =
        std::max(needed, is_bounded ? needed * work_.batch_shard_count : work_.batch_bytes);
    return move_to_writer(begin_ + with_entries(form, planned_bytes_) + footers, place);
  }
  planned_bytes_ = 2 * needed;
  return move_to_writer(begin_ + with_entries(form, planned_bytes_), place);
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

void SortBatch::add_fixed(std::span<const std::byte> records) {
  const std::size_t width = work_.keys.form().record_bytes;
  const std::size_t count = records.size() / width;
  if (prefixes_.capacity() == 0) {
    prefixes_.reserve(planned_bytes_ / width);
    ranges_.reserve(planned_bytes_ / width);
  }
  for (std::size_t i = 0; i < count; ++i) {
    add_entry(work_.keys.prefix(records.subspan(i * width, width)));
  }
  size_bytes_ += records.size();
}

void SortBatch::add_lines(std::span<const std::byte> records) {
  for (std::size_t begin = 0; begin < records.size();) {
    const void* const feed = std::memchr(records.data() + begin, '\n', records.size() - begin);
    const std::size_t end =
        feed == nullptr
            ? records.size()
            : static_cast<std::size_t>(static_cast<const std::byte*>(feed) - records.data());
    add_entry(work_.keys.prefix(records.subspan(begin, end - begin)));
    size_bytes_ += end - begin + 1;
    ends_.push_back(size_bytes_);
    if (feed == nullptr) {
      blob_[begin_ + size_bytes_ - 1] = std::byte('\n');
    }
    begin = end + 1;
  }
}

void SortBatch::add_entry(std::uint64_t prefix) {
  const std::uint32_t range = work_.ranges.of(prefix);
  prefixes_.push_back(prefix);
  ranges_.push_back(range);
  ++counts_[range];
}

Result<Blob> SortBatch::seal(Place place) {
  counts_.resize(work_.ranges.count());
  const SortPartialSizes sizes = {.record_count = prefixes_.size(),
                                  .records_bytes = size_bytes_,
                                  .run_count = runs_.size(),
                                  .entry_counts = counts_,
                                  .has_ends = work_.keys.form().is_lines()};
  const SortPartialLayout layout = layout_sort_partial(sizes);
  begin_ = layout.records;
  if (!writer_ || blob_.size() < layout.table.size_bytes) {
    PINION_RETURN_IF_ERROR(move_to_writer(layout.table.size_bytes, place));
  }
  std::ranges::copy(std::as_bytes(std::span(runs_)), blob_.begin() + std::ptrdiff_t(layout.runs));
  std::ranges::copy(std::as_bytes(std::span(ends_)), blob_.begin() + std::ptrdiff_t(layout.ends));
  write_entries(layout);
  write_sort_footers(blob_, layout, sizes, work_.keys.form().record_bytes);
  return writer_->seal();
}

void SortBatch::write_entries(const SortPartialLayout& layout) const {
  struct Columns {
    std::uint64_t* prefixes;
    std::uint32_t* indices;
  };
  std::vector<Columns> next;
  next.reserve(counts_.size());
  for (std::size_t range = 0; range < counts_.size(); ++range) {
    auto* const prefixes = reinterpret_cast<std::uint64_t*>(blob_.data() + layout.prefixes[range]);
    next.push_back({prefixes, reinterpret_cast<std::uint32_t*>(prefixes + counts_[range])});
  }
  for (std::size_t i = 0; i < prefixes_.size(); ++i) {
    Columns& columns = next[ranges_[i]];
    *columns.prefixes++ = prefixes_[i];
    *columns.indices++ = static_cast<std::uint32_t>(i);
  }
}

std::uint64_t SortBatch::memory_bytes() const noexcept {
  return blob_.size() + ends_.capacity() * sizeof(std::uint64_t) +
         prefixes_.capacity() * (sizeof(std::uint64_t) + sizeof(std::uint32_t));
}

bool SortBatch::is_full() const noexcept {
  return writer_ && size_bytes_ + last_shard_bytes_ + 1 > planned_bytes_;
}

}  // namespace pinion::engine
