#include "engine/sort_partial.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include <pinion/core/assert.hpp>

namespace pinion::engine {
namespace {

constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kMagic = 0x5452'4f53'4e49'5031;  // "1PINSORT" in memory.

// The last bytes of a partition. Offsets count from where the partition begins.
struct Footer {
  std::uint64_t magic;
  std::uint64_t records_bytes;
  std::uint64_t record_count;
  std::uint64_t run_count;
  std::uint64_t runs;
  std::uint64_t ends;
  std::uint64_t prefixes;
  std::uint32_t entry_count;
  std::uint32_t record_width;
};
static_assert(sizeof(Footer) == 64);

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

bool are_runs(std::span<const SortRun> runs, std::uint64_t record_count) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::uint64_t end = i + 1 < runs.size() ? runs[i + 1].first_record : record_count;
    if (runs[i].first_record > end) {
      return false;
    }
  }
  return runs.empty() ? record_count == 0 : runs.front().first_record == 0;
}

}  // namespace

Status sort_data_loss(const std::string& what) {
  return Status(ErrorCode::kDataLoss, "a sealed batch of a sort is damaged: " + what);
}

std::uint64_t sort_records_offset(std::uint32_t partition_count) {
  const std::vector<std::uint64_t> nothing(partition_count, 0);
  return layout_partitions(nothing).slots.front().offset;
}

SortPartialLayout layout_sort_partial(const SortPartialSizes& sizes) {
  SortPartialLayout layout;
  const auto partition_count = static_cast<std::uint32_t>(sizes.entry_counts.size());
  layout.records = sort_records_offset(partition_count);
  layout.runs = align_up(layout.records + sizes.records_bytes);
  layout.ends = layout.runs + sizes.run_count * sizeof(SortRun);
  const std::uint64_t end_count = sizes.has_ends ? sizes.record_count : 0;
  std::uint64_t end = layout.ends + end_count * sizeof(std::uint64_t);
  for (const std::uint32_t count : sizes.entry_counts) {
    layout.prefixes.push_back(align_up(end));
    end =
        align_up(layout.prefixes.back() + count * (sizeof(std::uint64_t) + sizeof(std::uint32_t))) +
        sizeof(Footer);
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
  for (std::size_t i = 0; i < layout.prefixes.size(); ++i) {
    const Footer footer = {.magic = kMagic,
                           .records_bytes = sizes.records_bytes,
                           .record_count = sizes.record_count,
                           .run_count = sizes.run_count,
                           .runs = layout.runs - layout.records,
                           .ends = layout.ends - layout.records,
                           .prefixes = layout.prefixes[i] - layout.records,
                           .entry_count = sizes.entry_counts[i],
                           .record_width = record_width};
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
  view.record_count_ = footer.record_count;
  view.record_width_ = record_width;
  const std::uint64_t end_count = record_width == 0 ? footer.record_count : 0;
  const std::uint64_t indices = footer.prefixes + footer.entry_count * sizeof(std::uint64_t);
  const bool inside = take(body, 0, footer.records_bytes, view.records_) &&
                      take(body, footer.runs, footer.run_count, view.runs_) &&
                      take(body, footer.ends, end_count, view.ends_) &&
                      take(body, footer.prefixes, footer.entry_count, view.prefixes_) &&
                      take(body, indices, footer.entry_count, view.indices_);
  if (!inside) {
    return sort_data_loss("its footer leads outside its " + std::to_string(partition.size()) +
                          " bytes");
  }
  const bool whole =
      record_width == 0 || (footer.records_bytes % record_width == 0 &&
                            footer.records_bytes / record_width == footer.record_count);
  if (!whole || !are_runs(view.runs_, footer.record_count)) {
    return sort_data_loss("its " + std::to_string(footer.record_count) +
                          " records are not what its runs and its " +
                          std::to_string(footer.records_bytes) + " bytes say");
  }
  return view;
}

}  // namespace pinion::engine
