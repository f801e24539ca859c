#include <pinion/shard/object_run.hpp>

#include <cstring>
#include <string>

#include <pinion/shard/key_hash.hpp>

namespace pinion {
namespace {

std::uint64_t checksum_of(std::span<const std::byte> partition) {
  return hash_bytes(partition.subspan(sizeof(std::uint64_t)));
}

}  // namespace

Result<ObjectRunParts> check_object_run(std::span<const std::byte> partition) {
  ObjectRunHeader header;
  const auto damaged = [&partition](const std::string& what) {
    return Status(ErrorCode::kDataLoss, "a sealed keyed run of values that write themselves, of " +
                                            std::to_string(partition.size()) +
                                            " bytes, is damaged: " + what);
  };
  if (partition.size() < sizeof(header)) {
    return damaged("its header alone has " + std::to_string(sizeof(header)) + " bytes");
  }
  std::memcpy(&header, partition.data(), sizeof(header));
  if (header.checksum != checksum_of(partition)) {
    return damaged("its checksum is not that of its bytes");
  }
  const std::uint64_t left = partition.size() - sizeof(header);
  if (header.run_bytes > left || header.object_bytes != left - header.run_bytes) {
    return damaged("it says it has " + std::to_string(header.run_bytes) + " bytes of keys and " +
                   std::to_string(header.object_bytes) + " of values");
  }
  const std::span<const std::byte> rest = partition.subspan(sizeof(header));
  return ObjectRunParts{.run = rest.first(static_cast<std::size_t>(header.run_bytes)),
                        .objects = rest.subspan(static_cast<std::size_t>(header.run_bytes))};
}

Status damaged_object(const StoredObject& object, std::uint64_t object_bytes) {
  return {ErrorCode::kDataLoss, "a sealed value of " + std::to_string(object.size) + " bytes at " +
                                    std::to_string(object.offset) + " of " +
                                    std::to_string(object_bytes) +
                                    " is damaged: its fold does not read it to its end"};
}

void finish_object_run(std::span<std::byte> partition, ObjectRunHeader header) {
  PINION_ASSERT(partition.size() == sizeof(header) + header.run_bytes + header.object_bytes);
  std::memcpy(partition.data(), &header, sizeof(header));
  header.checksum = checksum_of(partition);
  std::memcpy(partition.data(), &header.checksum, sizeof(header.checksum));
}

}  // namespace pinion
