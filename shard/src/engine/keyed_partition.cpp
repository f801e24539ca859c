#include <pinion/shard/keyed_partition.hpp>

#include <string>

namespace pinion {
namespace {

constexpr std::uint64_t align_up(std::uint64_t bytes) {
  return (bytes + 7) / 8 * 8;
}

constexpr std::uint64_t value_bytes(const KeyedPartitionHeader& header) {
  return header.value_width & 0x7fff'ffffu;
}

Status damaged(const std::string& what) {
  return Status(ErrorCode::kDataLoss, "a sealed keyed partition is damaged: " + what);
}

Status check_key_ends(std::span<const std::byte> partition, const KeyedPartitionHeader& header,
                      const KeyedPartitionLayout& layout) {
  std::uint64_t last = 0;
  for (std::uint64_t i = 0; i < header.entry_count; ++i) {
    std::uint64_t end = 0;
    std::memcpy(&end, partition.data() + layout.keys + i * sizeof(end), sizeof(end));
    if (end < last || end > header.key_bytes) {
      return damaged("key " + std::to_string(i) + " ends at " + std::to_string(end) + " of " +
                     std::to_string(header.key_bytes) + " bytes, the one before it at " +
                     std::to_string(last));
    }
    last = end;
  }
  if (last != header.key_bytes) {
    return damaged("its keys end at " + std::to_string(last) + ", not at " +
                   std::to_string(header.key_bytes));
  }
  return {};
}

}  // namespace

KeyedPartitionLayout layout_keyed_partition(const KeyedPartitionHeader& header) {
  const bool text = header.key_width == 0;
  KeyedPartitionLayout layout;
  layout.hashes = sizeof(KeyedPartitionHeader);
  layout.keys = layout.hashes + (text ? header.entry_count * sizeof(std::uint64_t) : 0);
  const std::uint64_t key_column_width = text ? sizeof(std::uint64_t) : header.key_width;
  layout.values = layout.keys + align_up(header.entry_count * key_column_width);
  layout.arena = layout.values + align_up(header.entry_count * value_bytes(header));
  layout.size_bytes = layout.arena + header.key_bytes;
  return layout;
}

Result<KeyedPartitionHeader> check_keyed_partition(std::span<const std::byte> partition,
                                                   const KeyedPartitionHeader& expected) {
  KeyedPartitionHeader header;
  if (partition.size() < sizeof(header)) {
    return damaged("it has " + std::to_string(partition.size()) + " bytes, its header alone has " +
                   std::to_string(sizeof(header)));
  }
  std::memcpy(&header, partition.data(), sizeof(header));
  if (header.key_width != expected.key_width || header.value_width != expected.value_width) {
    return damaged("it holds keys and values of other types");
  }
  // The counts are bounded before the layout multiplies them, so that nothing overflows.
  if (header.entry_count > partition.size() || header.key_bytes > partition.size()) {
    return damaged("it says it holds " + std::to_string(header.entry_count) + " entries in " +
                   std::to_string(partition.size()) + " bytes");
  }
  const KeyedPartitionLayout layout = layout_keyed_partition(header);
  if (layout.size_bytes != partition.size()) {
    return damaged("its " + std::to_string(header.entry_count) + " entries need " +
                   std::to_string(layout.size_bytes) + " bytes, it has " +
                   std::to_string(partition.size()));
  }
  if (header.key_width != 0) {
    if (header.key_bytes != 0) {
      return damaged("it holds bytes of text keys beside integer keys");
    }
    return header;
  }
  PINION_RETURN_IF_ERROR(check_key_ends(partition, header, layout));
  return header;
}

}  // namespace pinion
