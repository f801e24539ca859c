#pragma once

#include <cstdint>
#include <string>

#include <pinion/core/blob.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// A file on disk that nobody can open by a name, of `size_bytes`, with all its space reserved:
/// writing to a mapping of it does not fail for want of space. Closed, it is gone.
/// Errors: kResourceExhausted when the disk is full; kFailedPrecondition when its file system has
/// no
///   nameless files; those of opening a directory. All name the directory.
Result<UniqueFd> create_spill_file(const std::string& directory, std::uint64_t size_bytes);

/// Writes the header, takes the file back out of memory, and changes the descriptor for one that
/// can only read. Precondition: no writable mapping is left.
/// Blocks: until the disk has it.
/// Errors: kFailedPrecondition when somebody else can still write; those of the disk.
Result<UniqueFd> finish_spill_file(UniqueFd file, const BlobHandle& handle, Place home);

/// Whether nobody has this file (spilled, or of a BlobMemory) open or mapped for writing, and
/// nobody can open it by a name. A file has no seals as a memfd has. What protects it is that its
/// mode lets nobody write, that this descriptor cannot, and that the kernel says (by granting a
/// lease) that no other descriptor or mapping can. What does not: a process of the same user that
/// sets the mode back and opens it again through /proc, which could as well write into the reader's
/// memory. In a BlobMemory, whose descriptors come through a mount that is read-only, it cannot do
/// that either. Errors: kFailedPrecondition, and what is wrong with it.
Status check_final_file(int descriptor);

/// Whether a checked segment is a file on a disk and no memory.
[[nodiscard]] bool is_spill_file(int descriptor) noexcept;

}  // namespace pinion
