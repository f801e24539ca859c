#pragma once

#include <cstdint>

namespace pinion {

/// Whose blobs a store holds. It goes into every handle that the store makes, and a handle of
/// another job, epoch or host is refused.
struct BlobStoreIdentity {
  std::uint64_t job = 0;
  std::uint32_t epoch = 0;
  std::uint32_t host = 0;
};

}  // namespace pinion
