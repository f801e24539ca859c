#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/status.hpp>

// The form of a sealed state: a header, a table of partitions, then the partitions themselves, each
// at a multiple of 64 bytes and each readable on its own. All numbers are little-endian, all places
// are offsets, so that any process merges the bytes from where they lie.

namespace pinion {

/// Where a partition's bytes lie in its blob.
struct PartitionSlot {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  friend bool operator==(const PartitionSlot&, const PartitionSlot&) = default;
};

struct PartitionedLayout {
  std::vector<PartitionSlot> slots = {};
  std::uint64_t size_bytes = 0;  ///< Of the whole blob.
};

/// Lays out partitions of these lengths, in this order.
/// Precondition: at least one partition.
[[nodiscard]] PartitionedLayout layout_partitions(std::span<const std::uint64_t> lengths);

/// Writes the header and the table. What the partitions hold is for the caller to write.
/// Precondition: `blob` is zeroed and has the layout's size.
void write_partition_table(std::span<std::byte> blob, const PartitionedLayout& layout);

/// The bytes of a partition in a blob that is being written.
[[nodiscard]] std::span<std::byte> partition_of(std::span<std::byte> blob,
                                                const PartitionedLayout& layout,
                                                std::uint32_t index);

/// Errors: kDataLoss for bytes that are not of this form.
[[nodiscard]] Result<std::uint32_t> partition_count_of(std::span<const std::byte> blob);

/// The bytes of one partition.
/// Errors: kDataLoss for bytes that are not of this form, or have no such partition.
[[nodiscard]] Result<std::span<const std::byte>> partition_of(std::span<const std::byte> blob,
                                                              std::uint32_t index);

/// How many bytes at the beginning of a blob of so many partitions say where these lie.
[[nodiscard]] std::uint64_t partition_table_bytes(std::uint32_t partition_count);

/// Where they lie, by these bytes of a blob that has `size_bytes` in all.
/// Errors: kDataLoss for bytes that are not of this form, or of another blob.
[[nodiscard]] Result<std::vector<PartitionSlot>> read_partition_table(
    std::span<const std::byte> table, std::uint64_t size_bytes);

}  // namespace pinion
