#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include <pinion/core/assert.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/sort.hpp>

#include "engine/sort_sealed.hpp"

namespace pinion {
namespace {

Status damaged(std::span<const std::byte> bytes) {
  return Status(ErrorCode::kDataLoss,
                "a sorted partition of " + std::to_string(bytes.size()) + " bytes is damaged");
}

bool are_ends(std::span<const std::uint64_t> ends, std::uint64_t size) {
  // A line has its line feed, so ends ascend and begin above 0.
  return ends.empty() ? size == 0
                      : ends.front() > 0 && ends.back() == size &&
                            std::ranges::adjacent_find(ends, std::greater_equal<>()) == ends.end();
}

}  // namespace

Result<SortedResult> SortedResult::create(std::vector<Blob> blobs) {
  State state;
  for (const Blob& blob : blobs) {
    const auto bytes = partition_of(blob.bytes(), 0);
    if (!bytes) {
      return Status(bytes.error());
    }
    engine::SortedHeader header;
    if (bytes->size() < sizeof(header)) {
      return damaged(*bytes);
    }
    std::memcpy(&header, bytes->data(), sizeof(header));
    const bool is_lines = header.record_width == 0;
    const bool is_bounded = header.record_count <= bytes->size() / (is_lines ? 8 : 1) &&
                            header.record_width <= bytes->size() &&
                            header.records_bytes <= bytes->size();
    const std::uint64_t begin = is_bounded ? engine::sorted_records_offset(header) : 0;
    if (header.magic != engine::kSortedMagic || !is_bounded || begin > bytes->size() ||
        bytes->size() - begin != header.records_bytes) {
      return damaged(*bytes);
    }
    Partition partition = {.record_count = header.record_count,
                           .record_bytes = header.record_width,
                           .bytes = bytes->subspan(begin)};
    if (is_lines) {
      partition.ends = {reinterpret_cast<const std::uint64_t*>(bytes->data() + sizeof(header)),
                        static_cast<std::size_t>(header.record_count)};
    }
    if (is_lines ? !are_ends(partition.ends, header.records_bytes)
                 : header.record_count * header.record_width != header.records_bytes) {
      return damaged(*bytes);
    }
    state.size += partition.record_count;
    state.partitions.push_back(partition);
  }
  state.blobs = std::move(blobs);
  return SortedResult(std::make_shared<const State>(std::move(state)));
}

std::span<const std::byte> SortedResult::bytes(std::size_t partition) const noexcept {
  PINION_ASSERT(partition < partition_count());
  return state_->partitions[partition].bytes;
}

std::string_view SortedResult::record_of(std::size_t partition,
                                         std::uint64_t index) const noexcept {
  const Partition& from = state_->partitions[partition];
  const auto* const bytes = reinterpret_cast<const char*>(from.bytes.data());
  if (from.record_bytes > 0) {
    return {bytes + index * from.record_bytes, static_cast<std::size_t>(from.record_bytes)};
  }
  const std::uint64_t begin = index == 0 ? 0 : from.ends[index - 1];
  return {bytes + begin, static_cast<std::size_t>(from.ends[index] - 1 - begin)};
}

}  // namespace pinion
