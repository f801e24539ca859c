// What a GPU that hangs comes to: CUDA cannot give it up, so the process ends, and what the device
// has is told before.

#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/page_pool.hpp>
#include <pinion/core/timer.hpp>
#include <pinion/gpu/pipeline.hpp>

#include "fake_cuda_bed.hpp"

namespace pinion {
namespace {

using testing::FakeCudaBed;

// Gives a device that does nothing one piece of work, and waits for more than the watchdog does.
void run_work_that_hangs() {
  FakeCudaBed host({.work_waits = true});
  MemoryLedger ledger({.budget_bytes = 1 << 20});
  PagePool pages(ledger, {});
  const auto staging = StagingPool::create(host.device(), pages, {}, 32 << 10).value();
  const KernelRegistry kernels{};
  const auto timer = SystemTimer::create().value();
  const auto pipeline =
      Pipeline::create(*staging, kernels, *timer,
                       {.hang = {.first = std::chrono::milliseconds(10)},
                        .on_hang =
                            [](const DeviceHang& hang) {
                              std::fprintf(stderr, "it has %zu works, the first is %lu; ",
                                           hang.ids.size(), hang.ids.front());
                            }})
          .value();
  const std::vector<std::byte> input(1000);
  EXPECT_TRUE(pipeline
                  ->submit({.id = 17,
                            .kernel = "twice_plus",
                            .arguments = {std::byte{1}},
                            .input = input,
                            .on_done = [](const WorkOutcome&) { ADD_FAILURE() << "it ended"; }})
                  .ok());
  CompletionSource never;
  never.completion().wait();
}

TEST(CudaHangDeathTest, EndsTheProcessOnceItWasToldWhatTheDeviceHas) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run_work_that_hangs(),
              ::testing::ExitedWithCode(error_info(ErrorCode::kDeadlineExceeded).exit_status),
              "it has 1 works, the first is 17; .*NVIDIA Fake 1 .* was abandoned");
}

}  // namespace
}  // namespace pinion
