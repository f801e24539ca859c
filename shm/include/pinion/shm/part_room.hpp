#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// Where parts of blobs lie in memory for all of them, each aligned to 64 bytes.
struct PartRoomLayout {
  std::vector<std::uint64_t> offsets = {};
  std::uint64_t size_bytes = 0;

  /// Errors: kInvalidArgument for parts that are not inside of their blobs, or not to be had at
  /// all.
  [[nodiscard]] static Result<PartRoomLayout> of(std::span<const BlobPart> parts);
};

/// Memory for parts of other hosts' blobs: made by the process that is to read them, and filled by
/// the agent of its host, which need not trust it, as the size is final.
/// Precondition: size_bytes > 0. Errors: kResourceExhausted when the system has no such memory.
[[nodiscard]] Result<UniqueFd> make_part_room(std::uint64_t size_bytes);

/// Writers for the parts, in their order, into such memory. The Blob that seal() gives has neither
/// name nor bytes. The memory stays mapped while one of them lives.
/// Lifetime: `descriptor` is for the call.
/// Errors: kInvalidArgument for memory that make_part_room() has not made for these parts; those of
///   mapping.
[[nodiscard]] Result<std::vector<BlobWriter>> write_into_part_room(int descriptor,
                                                                   std::span<const BlobPart> parts);

}  // namespace pinion
