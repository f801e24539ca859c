#include "checksum_avx2.hpp"

// Compiled for AVX2. So nothing of the standard library's that is inline may be in here: the linker
// might take this copy of it for programs on CPUs that have no AVX2.
#ifdef __x86_64__

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace pinion::detail {

std::uint64_t checksum_avx2(const void* bytes, std::size_t size) noexcept {
  return XXH3_64bits(bytes, size);
}

}  // namespace pinion::detail

#endif
