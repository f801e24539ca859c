#include <pinion/shm/part_room.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "memory_mapping.hpp"
#include "segment.hpp"

namespace pinion {
namespace {

constexpr int kFinalSize = F_SEAL_SHRINK | F_SEAL_GROW;
constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kRoomBytesMax = std::uint64_t{1} << 46;

}  // namespace

Result<PartRoomLayout> PartRoomLayout::of(std::span<const BlobPart> parts) {
  PartRoomLayout layout;
  for (const BlobPart& part : parts) {
    if (!part.is_inside() || part.length_bytes > kRoomBytesMax - layout.size_bytes) {
      return Status(ErrorCode::kInvalidArgument, std::to_string(part.length_bytes) +
                                                     " bytes of a blob are asked for that it "
                                                     "does not have");
    }
    layout.offsets.push_back(layout.size_bytes);
    layout.size_bytes += (part.length_bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  return layout;
}

Result<UniqueFd> make_part_room(std::uint64_t size_bytes) {
  Result<UniqueFd> room = create_segment(size_bytes, "pinion-parts");
  if (!room) {
    return room;
  }
  PINION_RETURN_IF_ERROR(reserve_segment(room->get(), size_bytes));
  if (::fcntl(room->get(), F_ADD_SEALS, kFinalSize) != 0) {
    return Status::from_errno(errno, "sealing the size of memory for parts of blobs");
  }
  return room;
}

Result<std::vector<BlobWriter>> write_into_part_room(int descriptor,
                                                     std::span<const BlobPart> parts) {
  const Result<PartRoomLayout> layout = PartRoomLayout::of(parts);
  if (!layout) {
    return layout.error();
  }
  struct stat facts = {};
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & kFinalSize) != kFinalSize || ::fstat(descriptor, &facts) != 0 ||
      layout->size_bytes == 0 || static_cast<std::uint64_t>(facts.st_size) != layout->size_bytes) {
    return Status(ErrorCode::kInvalidArgument,
                  "the memory for parts of blobs has not their size, or not for good");
  }
  Result<MemoryMapping> mapping =
      MemoryMapping::create_shared(descriptor, static_cast<std::size_t>(layout->size_bytes));
  if (!mapping) {
    return std::move(mapping).error();
  }
  const auto mapped = std::make_shared<const MemoryMapping>(*std::move(mapping));
  std::vector<BlobWriter> writers;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    writers.emplace_back(mapped->bytes().subspan(static_cast<std::size_t>(layout->offsets[i]),
                                                 static_cast<std::size_t>(parts[i].length_bytes)),
                         [mapped]() -> Result<Blob> { return Blob(); });
  }
  return writers;
}

}  // namespace pinion
