#include "engine/mapped_pages.hpp"

#include <cerrno>
#include <limits>
#include <string>

#include <sys/mman.h>

namespace pinion {
namespace {

// Of x86-64, and of ARM with pages of 4 KiB. Elsewhere the rounding costs a little address space.
constexpr std::uint64_t kHugePageBytes = std::uint64_t{2} << 20;

// Small buffers take no huge page: a worker that reads small files would hold 2 MiB for nothing.
constexpr std::uint64_t kSmallStepBytes = std::uint64_t{64} << 10;
constexpr std::uint64_t kSmallBytesMax = kHugePageBytes / 2;

std::uint64_t round_up(std::uint64_t size_bytes) noexcept {
  const std::uint64_t step = size_bytes <= kSmallBytesMax ? kSmallStepBytes : kHugePageBytes;
  return (size_bytes + step - 1) / step * step;
}

Status no_memory(std::uint64_t size_bytes) {
  return Status::from_native(
      ErrorOrigin::kErrno, errno, ErrorCode::kResourceExhausted,
      "the system has no " + std::to_string(size_bytes) + " bytes of memory more");
}

bool can_round_up(std::uint64_t size_bytes) noexcept {
  return size_bytes <= std::numeric_limits<std::int64_t>::max() - 2 * kHugePageBytes;
}

// Only a wish: a system without huge pages works with small ones.
void want_huge_pages(std::span<std::byte> bytes) noexcept {
  if (bytes.size() >= kHugePageBytes) {
    ::madvise(bytes.data(), bytes.size(), MADV_HUGEPAGE);
  }
}

}  // namespace

Result<MappedPages> MappedPages::map(std::uint64_t size_bytes) {
  if (!can_round_up(size_bytes)) {
    errno = ENOMEM;
    return no_memory(size_bytes);
  }
  const std::uint64_t length = round_up(size_bytes);
  const std::uint64_t slack = length < kHugePageBytes ? 0 : kHugePageBytes;
  void* const found =
      ::mmap(nullptr, length + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (found == MAP_FAILED) {
    return no_memory(size_bytes);
  }
  auto* const begin = static_cast<std::byte*>(found);
  std::byte* aligned = begin;
  if (slack > 0) {
    // The whole of a huge page must lie in the mapping, so it begins at a multiple of one; what
    // stands before and behind goes back.
    const auto address = reinterpret_cast<std::uintptr_t>(begin);
    const std::uint64_t before = (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
    aligned = begin + before;
    if (before > 0) {
      ::munmap(begin, before);
    }
    if (slack > before) {
      ::munmap(aligned + length, slack - before);
    }
  }
  const std::span<std::byte> bytes(aligned, length);
  want_huge_pages(bytes);
  return MappedPages(bytes);
}

MappedPages::~MappedPages() {
  if (!bytes_.empty()) {
    ::munmap(bytes_.data(), bytes_.size());
  }
}

Status MappedPages::grow(std::uint64_t size_bytes) {
  if (size_bytes <= bytes_.size()) {
    return {};
  }
  if (!can_round_up(size_bytes)) {
    errno = ENOMEM;
    return no_memory(size_bytes);
  }
  if (bytes_.empty()) {
    Result<MappedPages> pages = map(size_bytes);
    if (!pages) {
      return std::move(pages).error();
    }
    *this = std::move(*pages);
    return {};
  }
  const std::uint64_t length = round_up(size_bytes);
  void* const found = ::mremap(bytes_.data(), bytes_.size(), length, MREMAP_MAYMOVE);
  if (found == MAP_FAILED) {
    return no_memory(size_bytes);
  }
  bytes_ = {static_cast<std::byte*>(found), length};
  want_huge_pages(bytes_);
  return {};
}

}  // namespace pinion
