#include "engine/sort_partial.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include <pinion/core/assert.hpp>
#include <pinion/shard/key_hash.hpp>

namespace pinion::engine {
namespace {

constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kMagic = 0x5452'4f53'4e49'5031;  // "1PINSORT" in memory.

// The last bytes of a partition. Offsets count from where the partition begins. `checksum` is that
// of the chunks and of the footer before it.
struct Footer {
  std::uint64_t magic;
  std::uint64_t records_bytes;
  std::uint64_t chunks;
  std::uint64_t chunk_count;
  std::uint32_t record_width;
  std::uint32_t partition;
  std::uint64_t checksum;
};
static_assert(sizeof(Footer) == 48);

std::uint64_t checksum_of(std::span<const std::byte> chunks, const Footer& footer) {
  const auto fields = std::as_bytes(std::span(&footer, 1)).first(offsetof(Footer, checksum));
  return hash_bytes(chunks) + mix_bits(hash_bytes(fields));
}

constexpr std::uint64_t align_up(std::uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

// The `count` elements at `offset` of `bytes`; nothing when they lie outside or unaligned.
template <class T>
bool take(std::span<const std::byte> bytes, std::uint64_t offset, std::uint64_t count,
          std::span<const T>& out) {
  if (offset > bytes.size() || offset % alignof(T) != 0 ||
      count > (bytes.size() - offset) / sizeof(T)) {
    return false;
  }
  out = {reinterpret_cast<const T*>(bytes.data() + offset), static_cast<std::size_t>(count)};
  return true;
}

bool is_chunk(const SortChunk& chunk, std::span<const std::byte> records,
              std::uint32_t record_width) {
  if (chunk.size_bytes == 0 || chunk.offset > records.size() ||
      chunk.size_bytes > records.size() - chunk.offset) {
    return false;
  }
  return record_width > 0 ? chunk.size_bytes % record_width == 0
                          : records[chunk.offset + chunk.size_bytes - 1] == std::byte('\n');
}

}  // namespace

Status sort_data_loss(const std::string& what) {
  return Status(ErrorCode::kDataLoss, "a sealed batch of a sort is damaged: " + what);
}

std::uint64_t sort_records_offset(std::uint32_t partition_count) {
  const std::vector<std::uint64_t> nothing(partition_count, 0);
  return layout_partitions(nothing).slots.front().offset;
}

std::uint64_t sort_lists_bytes(std::uint32_t partition_count, std::uint64_t chunk_count) {
  return kAlignment + partition_count * sizeof(Footer) + chunk_count * sizeof(SortChunk);
}

SortPartialLayout layout_sort_partial(const SortPartialSizes& sizes) {
  SortPartialLayout layout;
  const auto partition_count = static_cast<std::uint32_t>(sizes.chunk_counts.size());
  layout.records = sort_records_offset(partition_count);
  std::uint64_t end = align_up(layout.records + sizes.records_bytes);
  for (const std::uint32_t count : sizes.chunk_counts) {
    layout.chunks.push_back(end);
    end += count * sizeof(SortChunk) + sizeof(Footer);
    layout.table.slots.push_back({.offset = layout.records, .length = end - layout.records});
  }
  layout.table.size_bytes = end;
  return layout;
}

void write_sort_footers(std::span<std::byte> blob, const SortPartialLayout& layout,
                        const SortPartialSizes& sizes, std::uint32_t record_width) {
  PINION_ASSERT(blob.size() >= layout.table.size_bytes);
  PartitionedLayout table = layout.table;
  table.size_bytes = blob.size();
  write_partition_table(blob, table);
  for (std::size_t i = 0; i < layout.chunks.size(); ++i) {
    Footer footer = {.magic = kMagic,
                     .records_bytes = sizes.records_bytes,
                     .chunks = layout.chunks[i] - layout.records,
                     .chunk_count = sizes.chunk_counts[i],
                     .record_width = record_width,
                     .partition = static_cast<std::uint32_t>(i),
                     .checksum = 0};
    footer.checksum =
        checksum_of(blob.subspan(layout.chunks[i], footer.chunk_count * sizeof(SortChunk)), footer);
    const PartitionSlot& slot = layout.table.slots[i];
    std::memcpy(blob.data() + slot.offset + slot.length - sizeof(footer), &footer, sizeof(footer));
  }
}

Result<SortPartialView> SortPartialView::open(std::span<const std::byte> partition,
                                              std::uint32_t record_width) {
  Footer footer;
  const bool aligned = reinterpret_cast<std::uintptr_t>(partition.data()) % kAlignment == 0;
  if (partition.size() < sizeof(footer) || !aligned) {
    return sort_data_loss("a partition of " + std::to_string(partition.size()) +
                          " bytes has no footer, or is not aligned");
  }
  const auto body = partition.first(partition.size() - sizeof(footer));
  std::memcpy(&footer, partition.data() + body.size(), sizeof(footer));
  if (footer.magic != kMagic || footer.record_width != record_width) {
    return sort_data_loss("its footer is not that of records of " + std::to_string(record_width) +
                          " bytes");
  }
  SortPartialView view;
  view.partition_ = footer.partition;
  const bool is_whole = take(body, 0, footer.records_bytes, view.records_) &&
                        take(body, footer.chunks, footer.chunk_count, view.chunks_) &&
                        footer.chunks + view.chunks_.size_bytes() == body.size() &&
                        checksum_of(std::as_bytes(view.chunks_), footer) == footer.checksum &&
                        std::ranges::all_of(view.chunks_, [&](const SortChunk& chunk) {
                          return is_chunk(chunk, view.records_, record_width);
                        });
  if (!is_whole) {
    return sort_data_loss("the list of chunks at the end of its " +
                          std::to_string(partition.size()) + " bytes is not what was written");
  }
  return view;
}

}  // namespace pinion::engine
