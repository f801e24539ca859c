#pragma once

#include <cstdint>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// A file system in memory, with huge pages, which is mounted nowhere: only who has its descriptors
/// reaches it, and with the last of them and of the files in it its memory is gone. The large blobs
/// of a host lie in it where the system lets us have one; memory without it comes in small pages,
/// which costs ten times as much to get.
struct BlobMemory {
  /// Its root, in which files can be made.
  UniqueFd writable = {};

  /// The same through a mount that is read-only: a file that was opened here can be opened for
  /// writing by nobody who has but that descriptor, whoever he is.
  UniqueFd read_only = {};
};

/// Makes one for at most `size_bytes_max` bytes of files. A child process does it and ends: it
/// takes a mount namespace of its own, and a user namespace where it may not otherwise mount.
/// Blocks: for some milliseconds.
/// Errors: kPermissionDenied where the system lets nobody but the administrator mount, and others
///   of mounting; all say what failed.
[[nodiscard]] Result<BlobMemory> make_blob_memory(std::uint64_t size_bytes_max);

/// How many of the first `size_bytes` of a file lie in huge pages (of 2 MiB), as the system gives
/// them where it has them. It is asked what it has mapped; all memory of the file has to be there.
/// Blocks: for a look at each huge page, and for what the system says of all memory of this
/// process. Errors: those of mapping; kUnavailable where there is no /proc.
[[nodiscard]] Result<std::uint64_t> huge_page_bytes(int descriptor, std::uint64_t size_bytes);

}  // namespace pinion
