#include <pinion/shard/top_k.hpp>

namespace pinion {

Result<std::span<const std::byte>> check_top_partition(std::span<const std::byte> partition,
                                                       std::size_t width, std::uint64_t count_max) {
  if (partition.size() % width != 0 || partition.size() / width > count_max) {
    return Status(ErrorCode::kDataLoss, "a sealed selection is damaged: it has " +
                                            std::to_string(partition.size()) +
                                            " bytes, expected rows of " + std::to_string(width));
  }
  return partition;
}

}  // namespace pinion
