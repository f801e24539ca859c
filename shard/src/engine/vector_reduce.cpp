#include <pinion/shard/vector_reduce.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>

namespace pinion {

void require_in_vector(std::size_t begin, std::size_t count, std::size_t length) {
  if (begin > length || count > length - begin) {
    throw std::out_of_range("emitted " + std::to_string(count) + " elements at index " +
                            std::to_string(begin) + " of a vector of " + std::to_string(length) +
                            " elements");
  }
}

Result<std::span<const std::byte>> check_vector_partition(std::span<const std::byte> partition,
                                                          std::size_t length, std::size_t width) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(partition.data()) % width == 0;
  if (partition.size() != length * width || !aligned) {
    return Status(ErrorCode::kDataLoss,
                  "a sealed vector is damaged: it has " + std::to_string(partition.size()) +
                      " bytes, expected " + std::to_string(length) + " elements of " +
                      std::to_string(width) + " bytes" + (aligned ? "" : ", aligned"));
  }
  return partition;
}

Result<Blob> seal_one_partition(IBlobStore& store, Place place, std::uint32_t partition_count,
                                std::span<const std::byte> bytes) {
  PINION_ASSERT(partition_count > 0);
  std::vector<std::uint64_t> lengths(partition_count, 0);
  lengths.front() = bytes.size();
  const PartitionedLayout layout = layout_partitions(lengths);
  Result<BlobWriter> writer = store.create(layout.size_bytes, place);
  if (!writer) {
    return std::move(writer).error();
  }
  write_partition_table(writer->bytes(), layout);
  std::ranges::copy(bytes, partition_of(writer->bytes(), layout, 0).begin());
  return writer->seal();
}

}  // namespace pinion
