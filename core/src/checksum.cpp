#include <pinion/core/detail/checksum.hpp>

#include "checksum_avx2.hpp"

// All of it in this file, so that who links Pinion need not have the library.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace pinion::detail {

std::uint64_t checksum(std::span<const std::byte> bytes) noexcept {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) {
    return checksum_avx2(bytes.data(), bytes.size());
  }
#endif
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace pinion::detail
