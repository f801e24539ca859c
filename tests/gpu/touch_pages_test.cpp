#include "cuda/touch_pages.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/page_pool.hpp>

#include "cuda/cuda_host_memory.hpp"
#include "fake_cuda.hpp"

namespace pinion {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kPageBytes = 4096;

// Of whole pages.
std::size_t resident_pages(std::span<const std::byte> pages) {
  std::vector<unsigned char> states(pages.size() / kPageBytes);
  EXPECT_EQ(mincore(const_cast<std::byte*>(pages.data()), pages.size(), states.data()), 0);
  return static_cast<std::size_t>(
      std::count_if(states.begin(), states.end(), [](unsigned char state) { return state & 1; }));
}

bool populates() {
  const Pages probe = Pages::map(kPageBytes).value();
  touch_pages(probe.bytes());
  return resident_pages(probe.bytes()) == 1;
}

TEST(TouchPages, PutsMemoryBehindAllOfThemHoweverMany) {
  if (!populates()) {
    GTEST_SKIP() << "this system does not put memory behind pages when it is asked to";
  }
  for (const std::size_t size_bytes : {kMiB, 31 * kMiB, 32 * kMiB, 33 * kMiB, 97 * kMiB}) {
    SCOPED_TRACE(size_bytes);
    const Pages pages = Pages::map(size_bytes).value();
    const std::span<std::byte> bytes = pages.bytes().first(size_bytes);
    touch_pages(bytes);
    EXPECT_EQ(resident_pages(bytes), size_bytes / kPageBytes);
  }
}

TEST(TouchPages, LeavesWhatIsInThem) {
  const Pages pages = Pages::map(3 * kPageBytes).value();
  const std::span<std::byte> bytes = pages.bytes();
  bytes[5] = std::byte{7};
  touch_pages(bytes.subspan(1, 2 * kPageBytes));
  EXPECT_EQ(bytes[5], std::byte{7});
  touch_pages(bytes.subspan(1, 100));
  touch_pages({});
}

TEST(TouchPages, DoesNothingToMemoryThatMayNotBeWritten) {
  void* const memory = mmap(nullptr, kPageBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  touch_pages({static_cast<std::byte*>(memory), kPageBytes});
  EXPECT_EQ(munmap(memory, kPageBytes), 0);
}

TEST(TouchPages, ComesBeforeMemoryIsRegistered) {
  if (!populates()) {
    GTEST_SKIP() << "this system does not put memory behind pages when it is asked to";
  }
  testing::FakeCuda cuda(testing::two_fake_devices());
  CudaHostMemory registered(cuda);
  const Pages pages = Pages::map(kMiB).value();
  const std::span<std::byte> bytes = pages.bytes().first(kMiB);
  ASSERT_EQ(registered.add(0, bytes), 0);
  EXPECT_EQ(resident_pages(bytes), kMiB / kPageBytes);
  registered.remove(0, bytes);
}

}  // namespace
}  // namespace pinion
