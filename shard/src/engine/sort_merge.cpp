#include "engine/sort_merge.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include <pinion/shard/partitioned_blob.hpp>

#include "engine/sort_order.hpp"
#include "engine/sort_sealed.hpp"

namespace pinion::engine {
namespace {

// Far enough for memory to answer, near enough to stay in the first-level cache.
constexpr std::size_t kPrefetchDistance = 16;

// The entries of one shard in one batch.
struct Segment {
  std::uint64_t shard;
  const SortPartialView* partial;
  std::size_t begin;
  std::size_t end;
};

void prefetch(RecordBytes record) {
  const auto* const begin = record.data();
  __builtin_prefetch(begin);
  if (record.size() > 64) {
    __builtin_prefetch(begin + 64);
  }
}

// What memcpy does, without a call for each record; blocks at the end overlap.
void copy_record(std::byte* out, RecordBytes record) {
  constexpr std::size_t kBlock = 32;
  if (record.size() < kBlock) {
    std::memcpy(out, record.data(), record.size());
    return;
  }
  const std::size_t last = record.size() - kBlock;
  for (std::size_t at = 0; at < last; at += kBlock) {
    std::memcpy(out + at, record.data() + at, kBlock);
  }
  std::memcpy(out + last, record.data() + last, kBlock);
}

}  // namespace

Status SortMerge::add(std::span<const std::byte> partition) {
  const Result<SortPartialView> view = SortPartialView::open(partition, keys_.form().record_bytes);
  if (!view) {
    return view.error();
  }
  partials_.push_back(*view);
  return {};
}

// Entries of a batch ascend by record, and so by run; those of all batches are put in the order of
// shards, which is that of the input.
Status SortMerge::collect_entries() {
  std::vector<Segment> segments;
  std::uint64_t count = 0;
  for (const SortPartialView& partial : partials_) {
    const auto indices = partial.indices();
    if (std::ranges::adjacent_find(indices, std::greater_equal<>()) != indices.end()) {
      return sort_data_loss("its entries do not ascend");
    }
    count += indices.size();
    std::size_t begin = 0;
    for (std::size_t run = 0; run < partial.runs().size(); ++run) {
      const bool is_last = run + 1 == partial.runs().size();
      const std::size_t end =
          is_last ? indices.size()
                  : static_cast<std::size_t>(
                        std::ranges::lower_bound(indices, partial.runs()[run + 1].first_record) -
                        indices.begin());
      segments.push_back({partial.runs()[run].shard, &partial, begin, end});
      begin = end;
    }
    if (begin != indices.size()) {
      return sort_data_loss("it has entries without records");
    }
  }
  std::ranges::sort(segments, {}, &Segment::shard);
  const auto twice = std::ranges::adjacent_find(segments, {}, &Segment::shard);
  if (twice != segments.end()) {
    return sort_data_loss("shard " + std::to_string(twice->shard) + " is there twice");
  }
  prefixes_.reserve(count);
  records_.reserve(count);
  const std::size_t feed = keys_.form().is_lines() ? 1 : 0;
  for (const Segment& segment : segments) {
    for (std::size_t i = segment.begin; i < segment.end; ++i) {
      const RecordBytes record = segment.partial->record(segment.partial->indices()[i]);
      if (record.empty()) {
        return sort_data_loss("an entry leads outside its records");
      }
      prefixes_.push_back(segment.partial->prefixes()[i]);
      records_.push_back(record.first(record.size() - feed));
    }
  }
  return {};
}

Result<Blob> SortMerge::seal(IBlobStore& store, Place place) {
  PINION_RETURN_IF_ERROR(collect_entries());
  SortOrder order(keys_, records_);
  const std::vector<std::uint64_t> numbers = order.run(prefixes_);
  return gather(numbers, store, place);
}

Result<Blob> SortMerge::gather(std::span<const std::uint64_t> order, IBlobStore& store,
                               Place place) const {
  const RecordForm& form = keys_.form();
  SortedHeader header = {.magic = kSortedMagic,
                         .record_count = order.size(),
                         .records_bytes = order.size() * form.record_bytes,
                         .record_width = form.record_bytes};
  if (form.is_lines()) {
    for (const RecordBytes& record : records_) {
      header.records_bytes += record.size() + 1;
    }
  }
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
  const bool is_sound = form.is_lines()
                            ? gather_lines(order, out + sizeof(header), out + records_offset)
                            : gather_fixed(order, out + records_offset);
  if (!is_sound) {
    return sort_data_loss("an entry does not have the key of its record");
  }
  return writer->seal();
}

bool SortMerge::gather_fixed(std::span<const std::uint64_t> order, std::byte* out) const {
  const std::size_t width = keys_.form().record_bytes;
  bool is_sound = true;
  for (std::size_t i = 0; i < order.size(); ++i, out += width) {
    if (i + kPrefetchDistance < order.size()) {
      prefetch(records_[order[i + kPrefetchDistance]]);
    }
    const RecordBytes record = records_[order[i]];
    copy_record(out, record);
    is_sound &= keys_.prefix(record) == prefixes_[order[i]];
  }
  return is_sound;
}

bool SortMerge::gather_lines(std::span<const std::uint64_t> order, std::byte* ends,
                             std::byte* out) const {
  std::uint64_t end = 0;
  bool is_sound = true;
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i + kPrefetchDistance < order.size()) {
      prefetch(records_[order[i + kPrefetchDistance]]);
    }
    const RecordBytes record = records_[order[i]];
    copy_record(out + end, record);
    out[end + record.size()] = std::byte('\n');
    end += record.size() + 1;
    std::memcpy(ends + i * sizeof(end), &end, sizeof(end));
    is_sound &= keys_.prefix(record) == prefixes_[order[i]];
  }
  return is_sound;
}

std::uint64_t SortMerge::memory_bytes() const noexcept {
  return prefixes_.capacity() * sizeof(std::uint64_t) + records_.capacity() * sizeof(RecordBytes) +
         partials_.capacity() * sizeof(SortPartialView);
}

}  // namespace pinion::engine
