#pragma once

#include <cstdint>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/segment_table.hpp>

namespace pinion {

/// A process that has references to blobs.
struct StoreClient {
  std::uint32_t client = 0;
  std::int64_t process = 0;
  std::uint64_t reference_count = 0;
};

/// The blobs of one job on one host, at one moment.
struct StoreView {
  std::uint64_t job = 0;
  std::vector<SegmentState> segments;  ///< By number. Of one that is no slab, what is kept is not
                                       ///< known from outside; its references are the processes of
                                       ///< `clients` that have it mapped.
  std::vector<StoreClient> clients;    ///< By number. Whose client is not among them is dead.
};

/// What the owner of a host's blobs (an agent) holds, read from its open files: it is neither asked
/// nor held up, and no memory is taken. Blocks: for the file system.
/// Errors: kNotFound when there is no such process, kPermissionDenied when it is another user's.
[[nodiscard]] Result<StoreView> inspect_store(std::int64_t process);

}  // namespace pinion
