#include "memory_mapping.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include <pinion/shm/unique_fd.hpp>

namespace pinion {
namespace {

constexpr std::size_t kPageBytes = std::size_t{4} << 10;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

struct MapRequest {
  int descriptor = -1;
  int protection = PROT_READ;
  int flags = MAP_SHARED;
};

Result<std::span<std::byte>> map_pages(std::size_t size_bytes, const MapRequest& request) {
  void* const address =
      ::mmap(nullptr, size_bytes, request.protection, request.flags, request.descriptor, 0);
  if (address == MAP_FAILED) {
    return Status::from_errno(errno, "mapping " + std::to_string(size_bytes) + " bytes");
  }
  return std::span<std::byte>(static_cast<std::byte*>(address), size_bytes);
}

void unmap(std::span<std::byte> pages) noexcept {
  if (!pages.empty()) {
    PINION_ASSERT(::munmap(pages.data(), pages.size()) == 0);
  }
}

// As much as is mapped for a private blob. The last huge page of a large one is whole where the
// blob has more than half of it: that is quicker to come by than small ones.
std::size_t whole_page_bytes(std::size_t size_bytes) noexcept {
  const std::size_t tail = size_bytes % kHugePageBytes;
  const bool is_huge = size_bytes >= kHugePageBytes && tail > kHugePageBytes / 2;
  const std::size_t unit = is_huge ? kHugePageBytes : kPageBytes;
  return (size_bytes + unit - 1) / unit * unit;
}

// How far behind `address` the next multiple of `unit` lies.
std::size_t bytes_to_boundary(const std::byte* address, std::size_t unit) noexcept {
  return (unit - reinterpret_cast<std::uintptr_t>(address) % unit) % unit;
}

}  // namespace

Result<MemoryMapping> MemoryMapping::create_private(std::size_t size_bytes) {
  if (size_bytes == 0) {
    return MemoryMapping();
  }
  const bool is_large = size_bytes >= kHugePageBytes;
  const std::size_t whole_bytes = whole_page_bytes(size_bytes);
  Result<std::span<std::byte>> pages =
      map_pages(whole_bytes + (is_large ? kHugePageBytes : 0),
                {.protection = PROT_READ | PROT_WRITE, .flags = MAP_PRIVATE | MAP_ANONYMOUS});
  if (!pages) {
    return std::move(pages).error();
  }
  if (!is_large) {
    return MemoryMapping(pages->first(size_bytes), whole_bytes);
  }
  // Only an aligned part can be a huge page: what lies before and behind it goes back.
  const std::size_t before = bytes_to_boundary(pages->data(), kHugePageBytes);
  unmap(pages->first(before));
  unmap(pages->subspan(before + whole_bytes));
  const std::span<std::byte> aligned = pages->subspan(before, whole_bytes);
  // Advice: a system without huge pages serves small ones.
  ::madvise(aligned.data(), aligned.size(), MADV_HUGEPAGE);
  return MemoryMapping(aligned.first(size_bytes), whole_bytes);
}

Result<MemoryMapping> MemoryMapping::create_shared(int descriptor, std::size_t size_bytes) {
  Result<std::span<std::byte>> pages =
      map_pages(size_bytes, {.descriptor = descriptor, .protection = PROT_READ | PROT_WRITE});
  if (!pages) {
    return std::move(pages).error();
  }
  MemoryMapping mapping(*pages, size_bytes);
  // A child that inherits a writable mapping would make the write seal impossible (EBUSY).
  if (::madvise(pages->data(), size_bytes, MADV_DONTFORK) != 0) {
    return Status::from_errno(errno, "madvise(MADV_DONTFORK)");
  }
  return mapping;
}

Result<MemoryMapping> MemoryMapping::create_read_only(int descriptor, std::size_t size_bytes) {
  // Linux before 6.7 refuses any shared mapping of a write-sealed file through a descriptor that
  // could write. Opened again for reading only, it can be mapped on every kernel, and mprotect can
  // never make that mapping writable.
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  const UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!reader.valid()) {
    return Status::from_errno(errno, "opening a segment for reading through " + path);
  }
  Result<std::span<std::byte>> pages = map_pages(size_bytes, {.descriptor = reader.get()});
  if (!pages) {
    return std::move(pages).error();
  }
  return MemoryMapping(*pages, size_bytes);
}

MemoryMapping::MemoryMapping(MemoryMapping&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})), mapped_bytes_(other.mapped_bytes_) {}

MemoryMapping& MemoryMapping::operator=(MemoryMapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  return *this;
}

MemoryMapping::~MemoryMapping() {
  if (!bytes_.empty()) {
    unmap({bytes_.data(), mapped_bytes_});
  }
}

Status MemoryMapping::populate() {
  const std::span<std::byte> small =
      bytes_.subspan(std::min(bytes_.size(), mapped_bytes_ / kHugePageBytes * kHugePageBytes));
  while (!small.empty() && ::madvise(small.data(), small.size(), MADV_POPULATE_WRITE) != 0) {
    if (errno == EINVAL) {
      return {};  // Linux before 5.14 has no such advice: pages come when they are written.
    }
    if (errno != EINTR && errno != EAGAIN) {
      return Status::from_errno(errno, "reserving " + std::to_string(bytes_.size()) + " bytes");
    }
  }
  return {};
}

void MemoryMapping::prefault(std::size_t offset, std::size_t length_bytes,
                             bool to_write) const noexcept {
  const std::span<std::byte> part = bytes_.subspan(offset, length_bytes);
  ::madvise(part.data(), part.size(), to_write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

std::size_t MemoryMapping::give_back(std::size_t offset, std::size_t length_bytes) const noexcept {
  PINION_ASSERT(offset <= bytes_.size() && length_bytes <= bytes_.size() - offset);
  const std::span<std::byte> part = bytes_.subspan(offset, length_bytes);
  const std::size_t before = bytes_to_boundary(part.data(), kPageBytes);
  if (before >= part.size()) {
    return 0;
  }
  const std::size_t whole = (part.size() - before) / kPageBytes * kPageBytes;
  return whole > 0 && ::madvise(part.data() + before, whole, MADV_DONTNEED) == 0 ? whole : 0;
}

Status MemoryMapping::make_read_only() {
  if (!bytes_.empty() && ::mprotect(bytes_.data(), mapped_bytes_, PROT_READ) != 0) {
    return Status::from_errno(errno, "mprotect(PROT_READ)");
  }
  return {};
}

}  // namespace pinion
