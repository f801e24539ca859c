#include <pinion/shard/sum_vector.hpp>

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

}  // namespace pinion
