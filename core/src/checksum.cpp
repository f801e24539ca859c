#include <pinion/core/detail/checksum.hpp>

// All of it in this file, so that who links Pinion need not have the library.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace pinion::detail {

std::uint64_t checksum(std::span<const std::byte> bytes) noexcept {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace pinion::detail
