// What NVTX is told of shards and launches, with and without a profiler. No device is needed.

#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "cuda/cuda_runtime.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

// The ranges of two shards that overlap, and a launch, which fails where there is no device.
std::uint64_t show_two_shards_and_a_launch() {
  const std::unique_ptr<ICudaRuntime> runtime = load_cuda_runtime().value();
  const std::uint64_t first = runtime->begin_range(0, 17);
  const std::uint64_t second = runtime->begin_range(1, 18);
  static_cast<void>(runtime->launch(0, {},
                                    {.name = "kernel",
                                     .launch = [](void*, std::span<const std::byte>,
                                                  std::span<const DeviceSpan>) { return 0; }}));
  if (first != 0) {
    runtime->end_range(first);
    runtime->end_range(second);
  }
  return first;
}

// Each in a process of its own, as NVTX looks for a profiler once.

TEST(Nvtx, ShowsEachShardAsARangeOfItsOwn) {
  const TemporaryFolder folder;
  const std::string log = folder / "log";
  EXPECT_EXIT(
      {
        setenv("NVTX_INJECTION64_PATH", PINION_NVTX_INJECTION, 1);
        setenv("PINION_NVTX_LOG", log.c_str(), 1);
        _exit(show_two_shards_and_a_launch() != 0 ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
  std::stringstream text;
  text << std::ifstream(log).rdbuf();
  EXPECT_EQ(text.str(),
            "pinion start: shard 17 on device 0, payload 17\n"
            "pinion start: shard 18 on device 1, payload 18\n"
            "pinion push: kernel, payload none\n"
            "pinion pop\n"
            "pinion end: 4711\n"
            "pinion end: 4711\n");
}

TEST(Nvtx, IsToldNothingWhereNobodyProfiles) {
  EXPECT_EXIT(
      {
        unsetenv("NVTX_INJECTION64_PATH");
        _exit(show_two_shards_and_a_launch() == 0 ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace pinion
