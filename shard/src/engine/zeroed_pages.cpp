#include <pinion/shard/zeroed_pages.hpp>

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace pinion {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

std::byte* map(std::size_t size_bytes) {
  void* const begin = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (begin == MAP_FAILED) {
    throw std::bad_alloc();
  }
  return static_cast<std::byte*>(begin);
}

// The kernel gives huge pages only to whole, aligned ones: what is mapped too much goes back.
std::byte* map_aligned(std::size_t size_bytes) {
  std::byte* const mapped = map(size_bytes + kHugePageBytes);
  const auto address = reinterpret_cast<std::uintptr_t>(mapped);
  const std::size_t before = (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
  if (before > 0) {
    ::munmap(mapped, before);
  }
  std::byte* const begin = mapped + before;
  ::munmap(begin + size_bytes, kHugePageBytes - before);
  // A kernel without huge pages refuses the advice; small ones do.
  static_cast<void>(::madvise(begin, size_bytes, MADV_HUGEPAGE));
  return begin;
}

}  // namespace

ZeroedPages::ZeroedPages(std::size_t size_bytes) {
  if (size_bytes == 0) {
    return;
  }
  const std::size_t unit = size_bytes >= kHugePageBytes ? kHugePageBytes : kPageBytes;
  if (size_bytes > SIZE_MAX - 2 * kHugePageBytes) {
    throw std::bad_alloc();
  }
  size_bytes_ = (size_bytes + unit - 1) / unit * unit;
  begin_ = unit == kHugePageBytes ? map_aligned(size_bytes_) : map(size_bytes_);
}

ZeroedPages::~ZeroedPages() {
  if (begin_ != nullptr) {
    ::munmap(begin_, size_bytes_);
  }
}

}  // namespace pinion
