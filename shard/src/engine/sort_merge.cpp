#include "engine/sort_merge.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include <pinion/core/page_scope.hpp>
#include <pinion/shard/partitioned_blob.hpp>

#include "engine/copy_record.hpp"
#include "engine/sort_order.hpp"
#include "engine/sort_partial.hpp"
#include "engine/sort_sealed.hpp"

namespace pinion::engine {
namespace {

// Far enough for memory to answer, near enough to stay in the first-level cache.
constexpr std::size_t kPrefetchDistance = 16;

void prefetch(RecordBytes record) {
  const auto* const begin = record.data();
  __builtin_prefetch(begin);
  if (record.size() > 64) {
    __builtin_prefetch(begin + 64);
  }
}

void gather_fixed(std::span<const std::uint64_t> order, const RecordTable& records,
                  std::byte* out) {
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i + kPrefetchDistance < order.size()) {
      prefetch(records[order[i + kPrefetchDistance]]);
    }
    const RecordBytes record = records[order[i]];
    copy_record(out, record);
    out += record.size();
  }
}

void gather_lines(std::span<const std::uint64_t> order, const RecordTable& records, std::byte* ends,
                  std::byte* out) {
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i + kPrefetchDistance < order.size()) {
      prefetch(records[order[i + kPrefetchDistance]]);
    }
    const RecordBytes record = records[order[i]];
    copy_record(out + end, record);
    out[end + record.size()] = std::byte('\n');
    end += record.size() + 1;
    std::memcpy(ends + i * sizeof(end), &end, sizeof(end));
  }
}

}  // namespace

SortMerge::~SortMerge() {
  if (partition_ && work_.discard != nullptr) {
    work_.discard->reading_ends(*partition_);
  }
}

Status SortMerge::add(std::span<const std::byte> partition) {
  const Result<SortPartialView> view =
      SortPartialView::open(partition, work_.keys.form().record_bytes);
  if (!view) {
    return view.error();
  }
  PINION_RETURN_IF_ERROR(enter(view->partition()));
  for (const SortChunk& chunk : view->chunks()) {
    chunks_.push_back({chunk.shard, view->records(chunk)});
    size_bytes_ += chunk.size_bytes;
  }
  return {};
}

// The first part says which range this is; whether the others agree is seen in their records.
Status SortMerge::enter(std::uint32_t partition) {
  if (partition_) {
    return {};
  }
  if (partition >= work_.ranges.count()) {
    return sort_data_loss("it says it is partition " + std::to_string(partition) + " of " +
                          std::to_string(work_.ranges.count()));
  }
  if (work_.discard != nullptr) {
    work_.discard->reading_begins(partition);
  }
  partition_ = partition;
  return {};
}

// Puts the chunks of all batches in the order of shards, which is that of the input.
Status SortMerge::order_chunks() {
  std::ranges::sort(chunks_, {}, &Chunk::shard);
  const auto twice = std::ranges::adjacent_find(chunks_, {}, &Chunk::shard);
  if (twice != chunks_.end()) {
    return sort_data_loss("shard " + std::to_string(twice->shard) + " is there twice");
  }
  return {};
}

// Chunks are read from front to back, which memory likes, and once: what follows finds the records
// in the cache. A range that is larger than that, of a key that many records have, stays where it
// lies.
Status SortMerge::collect() {
  if (size_bytes_ == 0 || size_bytes_ > work_.collected_bytes_max) {
    return {};
  }
  Result<Pages> pages = PageScope::take(size_bytes_);
  if (!pages) {
    return std::move(pages).error();
  }
  pages_ = *std::move(pages);
  std::byte* out = pages_.bytes().data();
  for (const Chunk& chunk : chunks_) {
    std::memcpy(out, chunk.records.data(), chunk.records.size());
    out += chunk.records.size();
  }
  chunks_ = {{.shard = 0, .records = pages_.bytes().first(size_bytes_)}};
  return {};
}

RecordTable SortMerge::find_records() {
  const std::uint32_t width = work_.keys.form().record_bytes;
  if (width > 0 && chunks_.size() == 1) {
    return RecordTable(chunks_.front().records, width);
  }
  for (const Chunk& chunk : chunks_) {
    const std::byte* begin = chunk.records.data();
    const std::byte* const end = begin + chunk.records.size();
    while (begin != end) {
      // There is a line feed: it is the last byte of a chunk of lines.
      const auto* const record_end = width > 0
                                         ? begin + width
                                         : static_cast<const std::byte*>(std::memchr(
                                               begin, '\n', static_cast<std::size_t>(end - begin)));
      views_.emplace_back(begin, record_end);
      begin = record_end + (width > 0 ? 0 : 1);
    }
  }
  return RecordTable(views_);
}

Status SortMerge::check(const RecordTable& records) const {
  if (records.size() > std::uint64_t{1} << 32) {
    return Status(ErrorCode::kResourceExhausted, "one key, or keys that begin alike, have " +
                                                     std::to_string(records.size()) +
                                                     " records; a sort takes 2^32 of them");
  }
  if (!prefixes_.empty()) {
    const auto [least, greatest] = std::ranges::minmax(prefixes_);
    if (work_.ranges.of(least) != partition_ || work_.ranges.of(greatest) != partition_) {
      return sort_data_loss("a partition has records of another");
    }
  }
  return {};
}

Result<Blob> SortMerge::seal(IBlobStore& store, Place place) {
  PINION_RETURN_IF_ERROR(order_chunks());
  PINION_RETURN_IF_ERROR(collect());
  const RecordTable records = find_records();
  prefixes_.resize(records.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    prefixes_[i] = work_.keys.prefix(records[i]);
  }
  PINION_RETURN_IF_ERROR(check(records));
  SortOrder order(work_.keys, records);
  return gather(order.run(prefixes_), records, store, place);
}

Result<Blob> SortMerge::gather(std::span<const std::uint64_t> order, const RecordTable& records,
                               IBlobStore& store, Place place) const {
  const SortedHeader header = {.magic = kSortedMagic,
                               .record_count = order.size(),
                               .records_bytes = size_bytes_,
                               .record_width = work_.keys.form().record_bytes};
  const std::uint64_t records_offset = sorted_records_offset(header);
  const std::array<std::uint64_t, 1> lengths = {records_offset + header.records_bytes};
  const PartitionedLayout layout = layout_partitions(lengths);
  Result<BlobWriter> writer = store.create(layout.size_bytes, place);
  if (!writer) {
    return std::move(writer).error();
  }
  write_partition_table(writer->bytes(), layout);
  std::byte* const out = partition_of(writer->bytes(), layout, 0).data();
  std::memcpy(out, &header, sizeof(header));
  if (work_.keys.form().is_lines()) {
    gather_lines(order, records, out + sizeof(header), out + records_offset);
  } else {
    gather_fixed(order, records, out + records_offset);
  }
  return writer->seal();
}

std::uint64_t SortMerge::memory_bytes() const noexcept {
  return pages_.bytes().size() + prefixes_.capacity() * sizeof(std::uint64_t) +
         views_.capacity() * sizeof(RecordBytes) + chunks_.capacity() * sizeof(Chunk);
}

}  // namespace pinion::engine
