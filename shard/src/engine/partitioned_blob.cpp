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

// Of a blob of `size_bytes`, by its first bytes.
Result<Header> read_header(std::span<const std::byte> begin, std::uint64_t size_bytes) {
  if (begin.size() < sizeof(Header)) {
    return damaged("it has " + std::to_string(begin.size()) + " bytes, a header has " +
                   std::to_string(sizeof(Header)));
  }
  Header header;
  std::memcpy(&header, begin.data(), sizeof(header));
  if (header.magic != kMagic) {
    return damaged("its first eight bytes are not those of one");
  }
  if (header.layout_version != kLayoutVersion) {
    return damaged("its layout has version " + std::to_string(header.layout_version) +
                   ", this program reads version " + std::to_string(kLayoutVersion));
  }
  if (header.size_bytes != size_bytes) {
    return damaged("it says it has " + std::to_string(header.size_bytes) + " bytes, it has " +
                   std::to_string(size_bytes));
  }
  if (header.partition_count == 0 || table_end(header.partition_count) > begin.size()) {
    return damaged("a table of " + std::to_string(header.partition_count) +
                   " partitions does not fit into it");
  }
  return header;
}

Result<Header> read_header(std::span<const std::byte> blob) {
  return read_header(blob, blob.size());
}

// Precondition: the header was read from these bytes, and has such a partition.
Result<PartitionSlot> read_slot(std::span<const std::byte> begin, const Header& header,
                                std::uint32_t index) {
  PartitionSlot slot;
  std::memcpy(&slot, begin.data() + table_end(index), sizeof(slot));
  const bool inside =
      slot.offset % kAlignment == 0 && slot.offset >= table_end(header.partition_count) &&
      slot.offset <= header.size_bytes && slot.length <= header.size_bytes - slot.offset;
  if (!inside) {
    return damaged("partition " + std::to_string(index) + " lies at " +
                   std::to_string(slot.offset) + " with " + std::to_string(slot.length) +
                   " bytes, outside its " + std::to_string(header.size_bytes));
  }
  return slot;
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
  const Result<PartitionSlot> slot = read_slot(blob, *header, index);
  if (!slot) {
    return Status(slot.error());
  }
  return blob.subspan(slot->offset, slot->length);
}

std::uint64_t partition_table_bytes(std::uint32_t partition_count) {
  return table_end(partition_count);
}

Result<std::vector<PartitionSlot>> read_partition_table(std::span<const std::byte> table,
                                                        std::uint64_t size_bytes) {
  const Result<Header> header = read_header(table, size_bytes);
  if (!header) {
    return Status(header.error());
  }
  std::vector<PartitionSlot> slots;
  for (std::uint32_t index = 0; index < header->partition_count; ++index) {
    const Result<PartitionSlot> slot = read_slot(table, *header, index);
    if (!slot) {
      return Status(slot.error());
    }
    slots.push_back(*slot);
  }
  return slots;
}

}  // namespace pinion
