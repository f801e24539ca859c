#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// Whose blobs a store holds. It goes into every handle that the store makes, and a handle of
/// another job, epoch or host is refused.
struct BlobStoreIdentity {
  std::uint64_t job = 0;
  std::uint32_t epoch = 0;
  std::uint32_t host = 0;
};

/// Binds whole pages of memory to a place before anybody touches them. The span begins at a page.
/// Errors: kInvalidArgument for a place that this host does not have.
using BindMemory = std::function<Status(std::span<std::byte>, Place)>;

}  // namespace pinion
