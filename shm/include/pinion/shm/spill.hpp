#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>

namespace pinion {

/// Where a store puts blobs for which the memory ledger has no room: into files without a name,
/// which a process that ends leaves nowhere. They are written back to the disk and out of memory
/// when they are sealed, and read through the page cache, which the system can always take back.
struct SpillOptions {
  /// On a disk: a directory in memory (tmpfs) spares none. Empty: what does not fit is refused.
  std::string directory = {};

  /// Most payload bytes in files at once.
  std::uint64_t bytes_max = std::numeric_limits<std::uint64_t>::max();

  /// Told the size of each blob that goes to a file, from any thread. May be empty.
  std::function<void(std::uint64_t size_bytes)> on_spill = {};
};

/// Whether files in this directory lie in memory (tmpfs, ramfs). No, when it cannot be asked.
[[nodiscard]] bool is_in_memory(const std::string& directory) noexcept;

}  // namespace pinion
