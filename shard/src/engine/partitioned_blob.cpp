#include <pinion/shard/partitioned_blob.hpp>

#include <bit>
#include <cstring>
#include <limits>
#include <string>

#include <pinion/core/assert.hpp>

namespace pinion {
namespace {

static_assert(std::endian::native == std::endian::little, "sealed states are little-endian");

constexpr std::uint64_t kMagic = 0x5452'4150'4e49'5031;  // "1PINPART" in memory.
constexpr std::uint32_t kLayoutVersion = 1;
constexpr std::uint64_t kAlignment = 64;

struct Header {
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::uint32_t partition_count;
  std::uint64_t size_bytes;
  std::uint64_t reserved;
};
static_assert(sizeof(Header) == 32);

constexpr std::uint64_t align_up(std::uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

constexpr std::uint64_t table_end(std::uint64_t partition_count) {
  return sizeof(Header) + partition_count * sizeof(PartitionSlot);
}

Status damaged(const std::string& what) {
  return Status(ErrorCode::kDataLoss, "this is not a sealed state, or it is damaged: " + what);
}

Result<Header> read_header(std::span<const std::byte> blob) {
  if (blob.size() < sizeof(Header)) {
    return damaged("it has " + std::to_string(blob.size()) + " bytes, a header has " +
                   std::to_string(sizeof(Header)));
  }
  Header header;
  std::memcpy(&header, blob.data(), sizeof(header));
  if (header.magic != kMagic) {
    return damaged("its first eight bytes are not those of one");
  }
  if (header.layout_version != kLayoutVersion) {
    return damaged("its layout has version " + std::to_string(header.layout_version) +
                   ", this program reads version " + std::to_string(kLayoutVersion));
  }
  if (header.size_bytes != blob.size()) {
    return damaged("it says it has " + std::to_string(header.size_bytes) + " bytes, it has " +
                   std::to_string(blob.size()));
  }
  if (header.partition_count == 0 || table_end(header.partition_count) > blob.size()) {
    return damaged("a table of " + std::to_string(header.partition_count) +
                   " partitions does not fit into it");
  }
  return header;
}

}  // namespace

PartitionedLayout layout_partitions(std::span<const std::uint64_t> lengths) {
  PINION_ASSERT(!lengths.empty());
  PINION_ASSERT(lengths.size() <= std::numeric_limits<std::uint32_t>::max());
  PartitionedLayout layout;
  layout.slots.reserve(lengths.size());
  std::uint64_t end = table_end(lengths.size());
  for (const std::uint64_t length : lengths) {
    const std::uint64_t offset = align_up(end);
    layout.slots.push_back({offset, length});
    end = offset + length;
  }
  layout.size_bytes = end;
  return layout;
}

void write_partition_table(std::span<std::byte> blob, const PartitionedLayout& layout) {
  PINION_ASSERT(blob.size() == layout.size_bytes);
  const Header header = {.magic = kMagic,
                         .layout_version = kLayoutVersion,
                         .partition_count = static_cast<std::uint32_t>(layout.slots.size()),
                         .size_bytes = layout.size_bytes,
                         .reserved = 0};
  std::memcpy(blob.data(), &header, sizeof(header));
  std::memcpy(blob.data() + sizeof(header), layout.slots.data(),
              layout.slots.size() * sizeof(PartitionSlot));
}

std::span<std::byte> partition_of(std::span<std::byte> blob, const PartitionedLayout& layout,
                                  std::uint32_t index) {
  PINION_ASSERT(index < layout.slots.size());
  return blob.subspan(layout.slots[index].offset, layout.slots[index].length);
}

Result<std::uint32_t> partition_count_of(std::span<const std::byte> blob) {
  Result<Header> header = read_header(blob);
  if (!header) {
    return std::move(header).error();
  }
  return header->partition_count;
}

Result<std::span<const std::byte>> partition_of(std::span<const std::byte> blob,
                                                std::uint32_t index) {
  const Result<Header> header = read_header(blob);
  if (!header) {
    return Status(header.error());
  }
  if (index >= header->partition_count) {
    return damaged("partition " + std::to_string(index) + " is asked for, it has " +
                   std::to_string(header->partition_count));
  }
  PartitionSlot slot;
  std::memcpy(&slot, blob.data() + table_end(index), sizeof(slot));
  const bool inside = slot.offset % kAlignment == 0 &&
                      slot.offset >= table_end(header->partition_count) &&
                      slot.offset <= blob.size() && slot.length <= blob.size() - slot.offset;
  if (!inside) {
    return damaged("partition " + std::to_string(index) + " lies at " +
                   std::to_string(slot.offset) + " with " + std::to_string(slot.length) +
                   " bytes, outside its " + std::to_string(blob.size()));
  }
  return blob.subspan(slot.offset, slot.length);
}

}  // namespace pinion
