#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <pinion/core/bind_memory.hpp>
#include <pinion/core/blob.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/blob_memory.hpp>
#include <pinion/shm/shared_blob_store.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "memory_mapping.hpp"

namespace pinion {

struct SegmentFileOptions {
  std::uint64_t length_bytes = 0;
  Place home = {};
  std::string spill_directory = {};         ///< Not empty: the file lies there, on disk.
  const BlobMemory* blob_memory = nullptr;  ///< Null: in memory it is a memfd.
  BindMemory bind_memory = {};              ///< May be empty.
  ForEachAt for_each_at = {};               ///< May be empty.
};

/// A segment of one blob while it is written. Dropped before finish(), it leaves nothing: the file
/// has no name and nobody else has its descriptor. Movable, not copyable.
///
/// Thread safety: none for one object; several threads may fill disjoint parts of payload().
class SegmentFile {
 public:
  /// Lifetime: `options.blob_memory` is for the call.
  /// Errors: kResourceExhausted when the system, or the disk, has no such room; those of binding.
  [[nodiscard]] static Result<SegmentFile> create(const SegmentFileOptions& options);

  /// The bytes to write, zeroed and reserved.
  [[nodiscard]] std::span<std::byte> payload() const noexcept {
    return mapping_.bytes().last(static_cast<std::size_t>(length_bytes_));
  }

  /// Makes the segment final, as that of this blob; payload() is gone. Called once.
  /// Blocks: until the disk has what lies there.
  /// Errors: kFailedPrecondition when somebody else can still write; those of the disk.
  [[nodiscard]] Result<UniqueFd> finish(const BlobHandle& handle);

 private:
  SegmentFile() = default;
  [[nodiscard]] Status allocate(const SegmentFileOptions& options);
  [[nodiscard]] Status create_file(const SegmentFileOptions& options, std::uint64_t size_bytes);
  void touch(const ForEachAt& for_each_at) const;
  [[nodiscard]] Result<UniqueFd> finish_blob_file(const BlobHandle& handle);

  Place home_;
  std::uint64_t length_bytes_ = 0;
  bool spilled_ = false;
  UniqueFd descriptor_;
  UniqueFd reader_;  // Of a file in the blob memory.
  MemoryMapping mapping_;
};

/// The mapping of a segment that check_segment() has taken; nothing for one without bytes.
[[nodiscard]] Result<MemoryMapping> map_sealed(int descriptor, const BlobHandle& handle);

}  // namespace pinion
