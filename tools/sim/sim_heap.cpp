#include "sim/sim_heap.hpp"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>

namespace pinion::sim {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr int kGrowthBytes = 1 << 30;
constexpr int kDefaultGrowthBytes = 128 << 10;

}  // namespace

void use_huge_heap() noexcept {
  // Address space only: a page is taken when it is touched.
  if (::mallopt(M_TOP_PAD, kGrowthBytes) != 1) {
    return;
  }
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  auto* const begin = static_cast<std::byte*>(::sbrk(0));
  // More than a heap has left over, so that it grows.
  std::free(std::malloc(kHugePageBytes));
  auto* const end = static_cast<std::byte*>(::sbrk(0));
  ::mallopt(M_TOP_PAD, kDefaultGrowthBytes);
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) % kHugePageBytes;
  if (end - begin > static_cast<std::ptrdiff_t>(before)) {
    // Where it is refused, the pages are small ones.
    ::madvise(begin + before, static_cast<std::size_t>(end - begin) - before, MADV_HUGEPAGE);
  }
}

}  // namespace pinion::sim
