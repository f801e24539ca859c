#include <pinion/shard/distributed.hpp>

namespace pinion::detail {

void require_partition(const Shard& shard, std::size_t partition_count,
                       std::uint64_t expected_bytes) {
  if (shard.id() < partition_count && shard.bytes().size() == expected_bytes) {
    return;
  }
  std::string words = "it is no partition of the answer that it is read as: that has ";
  words += shard.id() < partition_count ? std::to_string(expected_bytes) + " bytes in partition " +
                                              std::to_string(shard.id()) + ", the shard has " +
                                              std::to_string(shard.bytes().size())
                                        : std::to_string(partition_count) + " partitions";
  throw ShardError(Status(ErrorCode::kFailedPrecondition,
                          words + "; the step must run over partitions() of this answer"));
}

}  // namespace pinion::detail
