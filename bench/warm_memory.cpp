// warm_memory BYTES: uses so much memory for a moment.
//
// The host of a virtual machine may take back what its guest has not used for some seconds, and is
// then slow to give it again. Who runs this before each contender measures the contenders and not
// the host.

#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace {

// In huge pages, as both sizes come from the same free blocks.
int use(std::size_t byte_count) {
  constexpr std::size_t kPage = std::size_t{2} << 20;
  void* const mapped =
      ::mmap(nullptr, byte_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    std::fprintf(stderr, "warm_memory: the system has no %zu bytes\n", byte_count);
    return 71;
  }
  static_cast<void>(
      ::madvise(mapped, byte_count, MADV_HUGEPAGE));  // Slower without, no less right.
  const std::size_t thread_count = std::max(std::thread::hardware_concurrency(), 1U);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < thread_count; ++i) {
    threads.emplace_back([=] {
      for (std::size_t at = i * kPage; at < byte_count; at += thread_count * kPage) {
        std::memset(static_cast<std::byte*>(mapped) + at, 1, std::min(kPage, byte_count - at));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view text = argc == 2 ? argv[1] : "";
  std::size_t byte_count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), byte_count);
  if (error != std::errc() || end != text.data() + text.size() || byte_count == 0) {
    std::fprintf(stderr, "Usage: warm_memory BYTES\n");
    return 64;
  }
  return use(byte_count);
}
