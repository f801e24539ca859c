#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/bytes.hpp>

#include "device_mutants.hpp"
#include "pipeline_bed.hpp"

// Small shards that go to a device together: what that gains, in virtual time, and that each of
// them ends as one that goes alone, whatever goes wrong.

namespace pinion {
namespace {

using testing::BedOptions;
using testing::PipelineBed;
using testing::Record;
using testing::Shards;

// Each copy and each launch costs 2 us, a byte a nanosecond in each stage.
constexpr const char* kDearLaunches = "mem=4m,pinned=8m,h2d=1g,d2h=1g,pageable=1g,latency=2us";

std::string one_device(const std::string& settings = {}) {
  return "emu:1," + std::string(kDearLaunches) + settings;
}

// All of the same argument, as the shards of a step are.
constexpr bool kAlike = true;

TEST(PipelineBatch, GivesEachShardItsOwnResult) {
  PipelineBed bed(one_device());
  std::vector<std::unique_ptr<Shards>> all;
  for (const std::size_t size_bytes : {1000u, 1u, 0u, 256u, 257u, 5000u, 3u}) {
    all.push_back(std::make_unique<Shards>(20, size_bytes, kAlike));
  }
  for (const std::unique_ptr<Shards>& shards : all) {
    bed.submit_all(*shards);
  }
  bed.run();
  for (const std::unique_ptr<Shards>& shards : all) {
    PipelineBed::expect_done(*shards);
  }
  const PipelineUsage usage = bed.pipeline().usage();
  EXPECT_EQ(usage.device_count, 140u);
  EXPECT_GT(usage.batch_count, 0u);
  EXPECT_EQ(usage.cut_batch_count, 0u);
  bed.expect_nothing_left();
}

TEST(PipelineBatch, TakesOnlyShardsThatAreAlikeAndMayBeTakenTogether) {
  PipelineBed bed(one_device());
  Shards shards(60, 500);
  for (std::size_t shard = 0; shard < 60; ++shard) {
    DeviceWork work = bed.work(shards, shard);  // Each with an argument of its own.
    work.takes_batches = true;
    EXPECT_TRUE(bed.pipeline().submit(std::move(work)).ok());
  }
  Shards others(60, 500, kAlike);
  for (std::size_t shard = 0; shard < 60; ++shard) {
    DeviceWork work = bed.work(others, shard);
    work.takes_batches = false;
    EXPECT_TRUE(bed.pipeline().submit(std::move(work)).ok());
  }
  bed.run();
  PipelineBed::expect_done(shards);
  PipelineBed::expect_done(others);
  EXPECT_EQ(bed.pipeline().usage().batch_count, 0u);
}

TEST(PipelineBatch, DoesNotWaitForMoreShards) {
  PipelineBed bed(one_device());
  Shards shards(3, 1000, kAlike);
  bed.submit_all(shards);
  bed.run();
  PipelineBed::expect_done(shards);
  EXPECT_EQ(bed.pipeline().usage().batch_count, 0u);
  EXPECT_EQ(shards.records[0].at - Instant(), Duration(3 * 3000));
}

// ---- What it gains.

constexpr std::uint64_t kSmall = 4_KiB;
constexpr std::size_t kSmallCount = 16'384;
constexpr std::size_t kTogether = 64;

// Of a GPU: 25 GB/s in each stage, and 8 us for each copy and each launch.
constexpr const char* kGpu =
    "emu:1,effects=none,mem=64m,pinned=1g,h2d=25g,d2h=25g,kern=0.04x,latency=8us";

// All shards by hand, 64 at a time: one copy, one launch, one copy, on three streams.
std::uint64_t by_hand_ns() {
  PipelineBed bed(kGpu);
  const Pages host = Pages::map(kTogether * kSmall).value();
  const HostRegistration registration = bed.device().register_host(host.bytes()).value();
  const DeviceBuffer memory = bed.device().allocate(2 * kTogether * kSmall).value();
  std::vector<DeviceSpan> buffers;
  for (std::size_t shard = 0; shard < kTogether; ++shard) {
    buffers.push_back(memory.span().part(shard * kSmall, kSmall));
    buffers.push_back(memory.span().part((kTogether + shard) * kSmall, kSmall));
    buffers.push_back(memory.span().part(0, 0));
  }
  const DeviceSpan inputs = memory.span().part(0, kTogether * kSmall);
  const DeviceSpan outputs = memory.span().part(kTogether * kSmall, kTogether * kSmall);
  const auto in = bed.device().create_stream().value();
  const auto execute = bed.device().create_stream().value();
  const auto out = bed.device().create_stream().value();
  const std::byte argument{0};
  for (std::size_t done = 0; done < kSmallCount; done += kTogether) {
    EXPECT_TRUE(in->copy_in(inputs, host.bytes()).ok());
    EXPECT_TRUE(execute->wait_for(*in).ok());
    EXPECT_TRUE(execute->launch("map_twice_plus", {&argument, 1}, buffers).ok());
    EXPECT_TRUE(out->wait_for(*execute).ok());
    EXPECT_TRUE(out->copy_out(host.bytes(), outputs).ok());
  }
  bed.devices().wait(out->reached());
  return static_cast<std::uint64_t>(bed.now().time_since_epoch().count());
}

std::uint64_t by_pipeline_ns(const std::string& spec, std::size_t count, std::uint64_t size_bytes,
                             bool takes_batches) {
  PipelineBed bed(spec, {.staging_bytes = 8 * size_bytes + 8_MiB,
                         .memory_bytes = 4_GiB,
                         .pipeline = {.waiting_max = count}});
  const Pages input = Pages::map(size_bytes).value();
  const std::uint64_t total = bed.time_of(count, input.bytes().first(size_bytes), takes_batches);
  bed.end_pipelines();
  return total;
}

TEST(PipelineBatch, IsAsQuickAsBatchesByHand) {
  const auto by_hand = static_cast<double>(by_hand_ns());
  const auto together = static_cast<double>(by_pipeline_ns(kGpu, kSmallCount, kSmall, true));
  const auto alone = static_cast<double>(by_pipeline_ns(kGpu, kSmallCount, kSmall, false));
  EXPECT_LE(together, by_hand / 0.9);
  EXPECT_GE(alone, 20.0 * together);
  RecordProperty("by_hand_us", std::to_string(by_hand / 1000));
  RecordProperty("together_us", std::to_string(together / 1000));
  RecordProperty("alone_us", std::to_string(alone / 1000));
}

TEST(PipelineBatch, CostsNothingWhereLaunchesCostNothing) {
  for (const std::uint64_t size_bytes : {4_KiB, 64_KiB, 1_MiB}) {
    SCOPED_TRACE(format_bytes(size_bytes));
    const std::string spec = "emu:1,effects=none,mem=64m,pinned=1g,h2d=1g,d2h=1g";
    const auto together = static_cast<double>(by_pipeline_ns(spec, 200, size_bytes, true));
    const auto alone = static_cast<double>(by_pipeline_ns(spec, 200, size_bytes, false));
    EXPECT_LE(together, 1.05 * alone);
  }
}

// ---- What goes wrong.

constexpr std::size_t kShardCount = 40;
constexpr std::size_t kShardBytes = 1000;

// Runs all shards with `fault` on the first device, and gives what comes back to the second one.
// The number of shards that came back.
std::size_t run_with(const std::string& settings, DeviceFault fault,
                     std::optional<WorkPath> path = std::nullopt) {
  SCOPED_TRACE(settings);
  std::vector<DeviceHang> hangs;
  PipelineBed bed(
      "emu:2," + std::string(kDearLaunches) + settings,
      {.pipeline = {.hang = {.first = std::chrono::milliseconds(1)},
                    .on_hang = [&](const DeviceHang& hang) { hangs.push_back(hang); }}});
  Shards shards(kShardCount, kShardBytes, kAlike);
  bed.submit_all(shards);
  bed.run();
  bed.expect_told(hangs, shards);
  const std::size_t handed_back = bed.submit_what_came_back(shards, fault);
  bed.run();
  PipelineBed::expect_done(shards, path);
  bed.expect_nothing_left();
  return handed_back;
}

// As there are fewer operations than three a shard, batches it must have been.
TEST(PipelineBatch, AFaultAtAnyOperationLosesNothing) {
  for (const auto& [name, fault] :
       {std::pair("sticky@", DeviceFault::kSticky), std::pair("hang@", DeviceFault::kHang)}) {
    std::size_t at = 1;
    while (run_with(",fault=0:" + std::string(name) + std::to_string(at), fault) > 0) {
      ++at;
    }
    EXPECT_GT(at, 9u);
    EXPECT_LT(at, 3 * kShardCount / 2);
  }
}

TEST(PipelineBatch, ALossAtAnyInstantLosesNothing) {
  std::size_t back = kShardCount;
  for (int at = 1; back > 0; at += 700) {
    const std::size_t now_back =
        run_with(",fault=0:lost@" + std::to_string(at) + "ns", DeviceFault::kLost);
    EXPECT_LE(now_back, back);
    back = now_back;
  }
}

TEST(PipelineBatch, MemoryThatLacksAtAnyAllocationCostsNothing) {
  for (int at = 1; at <= 12; ++at) {
    EXPECT_EQ(run_with(",fault=0:oom@" + std::to_string(at), DeviceFault::kOutOfMemory,
                       WorkPath::kDevice),
              0u);
  }
}

TEST(PipelineBatch, ADeviceThatCannotRunTheKernelCostsNothing) {
  EXPECT_EQ(run_with(",fault=0:wrongarch", DeviceFault::kConfiguration, WorkPath::kHost), 0u);
  EXPECT_EQ(run_with(",fault=0:regfail", DeviceFault::kNone, WorkPath::kDevice), 0u);
}

// At each instant all shards but every fourth are cancelled: those that have not begun are not
// done, and the others are, alone or together.
TEST(PipelineBatch, EndsWhatWasCancelledBeforeItBeganAndNothingElse) {
  bool some_were_late = false;
  for (int at = 0; at <= 60'000; at += 1'500) {
    SCOPED_TRACE(at);
    PipelineBed bed(one_device());
    Shards shards(kShardCount, kShardBytes, kAlike);
    const CancelSource cancel;
    for (std::size_t shard = 0; shard < kShardCount; ++shard) {
      DeviceWork work = bed.work(shards, shard);
      work.cancel = shard % 4 == 0 ? CancelToken() : cancel.token();
      EXPECT_TRUE(bed.pipeline().submit(std::move(work)).ok());
    }
    bed.devices().virtual_time()->advance(Duration(at));
    cancel.cancel();
    bed.run();
    std::size_t cancelled_count = 0;
    for (std::size_t shard = 0; shard < kShardCount; ++shard) {
      const Record& record = shards.records[shard];
      EXPECT_EQ(record.calls, 1);
      const bool is_cancelled = record.code == ErrorCode::kCancelled;
      cancelled_count += is_cancelled ? 1 : 0;
      EXPECT_TRUE(is_cancelled ? shard % 4 != 0 : record.result == shards.expected(shard));
    }
    EXPECT_EQ(cancelled_count > 0, bed.pipeline().usage().failed_count > 0);
    some_were_late = some_were_late || cancelled_count < 20;
    EXPECT_TRUE(at > 0 || cancelled_count == 28u) << cancelled_count;
    bed.expect_nothing_left();
  }
  EXPECT_TRUE(some_were_late);
}

// A kernel that was said to take batches, and on the device does not.
class OneShardStream final : public testing::ForwardingStream {
 public:
  using ForwardingStream::ForwardingStream;

  Status launch(std::string_view kernel, std::span<const std::byte> arguments,
                std::span<const DeviceSpan> buffers) override {
    if (buffers.size() > 3) {
      return Status(ErrorCode::kInvalidArgument, "one shard at a time");
    }
    return ForwardingStream::launch(kernel, arguments, buffers);
  }
};

TEST(PipelineBatch, WhatTheDeviceRefusesTogetherIsGivenOneByOne) {
  PipelineBed bed(one_device());
  testing::ForwardingDevice<OneShardStream> device(bed.device());
  KernelRegistry kernels;  // No twin, so that nothing can be done on the host.
  MemoryLedger ledger({.budget_bytes = 64_MiB});
  PagePool pages(ledger, {});
  const auto staging = StagingPool::create(device, pages, {}, 1_MiB).value();
  auto pipeline = Pipeline::create(*staging, kernels, bed.devices().timer(), {}).value();
  Shards shards(kShardCount, kShardBytes, kAlike);
  for (std::size_t shard = 0; shard < kShardCount; ++shard) {
    EXPECT_TRUE(pipeline->submit(bed.work(shards, shard)).ok());
  }
  bed.run();
  PipelineBed::expect_done(shards);
  EXPECT_GT(pipeline->usage().cut_batch_count, 0u);
  pipeline.reset();
  EXPECT_EQ(staging->usage().used_bytes, 0u);
}

// A shard alone needs 2048 bytes on the device, and two pages of staging.
TEST(PipelineBatch, WhatDoesNotFitTogetherGoesOneByOne) {
  struct Room {
    const char* device;
    std::uint64_t staging_bytes;
  };
  for (const Room& room : {Room{"8k", 1 << 20}, Room{"4m", 12 << 10}}) {
    PipelineBed bed("emu:1,pinned=8m,h2d=1g,d2h=1g,latency=20us,mem=" + std::string(room.device),
                    {.staging_bytes = room.staging_bytes});
    Shards shards(kShardCount, kShardBytes, kAlike);
    bed.submit_all(shards);
    bed.run();
    PipelineBed::expect_done(shards);
    EXPECT_EQ(bed.pipeline().usage().split_count, 0u);
    bed.expect_nothing_left();
    SCOPED_TRACE(room.device);
  }
  PipelineBed bed("emu:1,pinned=8m,h2d=1g,d2h=1g,latency=20us,mem=8k");
  Shards shards(kShardCount, kShardBytes, kAlike);
  bed.submit_all(shards);
  bed.run();
  EXPECT_GT(bed.pipeline().usage().cut_batch_count, 0u);
}

}  // namespace
}  // namespace pinion
