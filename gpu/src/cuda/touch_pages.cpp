#include "cuda/touch_pages.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace pinion {
namespace {

constexpr std::size_t kPageBytes = 4096;

// Worth a thread: the system zeroes that in some milliseconds. A multiple of huge pages.
constexpr std::size_t kPieceBytes = std::size_t{32} << 20;
constexpr std::size_t kThreadsMax = 8;

// Of Linux 5.14; the headers of a system may be older than that.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

void touch(std::span<std::byte> pages) noexcept {
  static_cast<void>(madvise(pages.data(), pages.size(), MADV_POPULATE_WRITE));
}

}  // namespace

void touch_pages(std::span<std::byte> memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
  const std::size_t before = (kPageBytes - address % kPageBytes) % kPageBytes;
  if (memory.size() < before + kPageBytes) {
    return;
  }
  std::span<std::byte> pages = memory.subspan(before);
  pages = pages.first(pages.size() / kPageBytes * kPageBytes);
  const std::size_t cpus = std::max<std::size_t>(std::thread::hardware_concurrency(), 1);
  const std::size_t pieces = (pages.size() + kPieceBytes - 1) / kPieceBytes;
  const std::size_t count = std::min({pieces, cpus, kThreadsMax});
  const std::size_t part = (pieces + count - 1) / count * kPieceBytes;
  std::vector<std::jthread> threads;
  while (pages.size() > part) {
    const std::span<std::byte> theirs = pages.first(part);
    try {
      threads.emplace_back([theirs] { touch(theirs); });
    } catch (const std::system_error&) {
      touch(theirs);  // No thread is to be had.
    }
    pages = pages.subspan(part);
  }
  touch(pages);
}

}  // namespace pinion
