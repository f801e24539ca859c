#include <pinion/gpu/pipeline.hpp>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipeline_bed.hpp"

namespace pinion {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using testing::kEven;
using testing::PipelineBed;
using testing::Record;
using testing::Shards;

const std::string kEvenRates = kEven;

TEST(Pipeline, BringsTheResultOfEveryShard) {
  PipelineBed bed(kEven);
  Shards shards(20, 5000);
  bed.submit_all(shards);
  bed.run();
  PipelineBed::expect_done(shards);
  EXPECT_EQ(bed.pipeline().usage().device_count, 20u);
  EXPECT_EQ(bed.pipeline().usage().zero_copy_count, 0u);
  EXPECT_EQ(bed.pipeline().usage().staged_bytes, 20u * 5000);
  EXPECT_EQ(bed.pipeline().usage().pageable_count, 0u);
  bed.expect_nothing_left();
}

TEST(Pipeline, TakesShardsOfAllSizesAlsoOfNone) {
  PipelineBed bed(kEven);
  std::vector<std::unique_ptr<Shards>> all;
  for (const std::size_t size_bytes : {0u, 1u, 255u, 256u, 257u, 70'000u, 3u}) {
    all.push_back(std::make_unique<Shards>(1, size_bytes));
    bed.submit_all(*all.back());
  }
  bed.run();
  for (const std::unique_ptr<Shards>& shards : all) {
    PipelineBed::expect_done(*shards);
  }
  bed.expect_nothing_left();
}

TEST(Pipeline, CopiesRegisteredInputFromWhereItLies) {
  PipelineBed bed(kEven);
  Shards shards(10, 5000);
  {
    const HostRegistration registration = bed.device().register_host(shards.input).value();
    bed.submit_all(shards);
    // Only the output is staged.
    EXPECT_EQ(bed.staging().usage().used_bytes, 3u * 8192);
    bed.run();
  }
  PipelineBed::expect_done(shards);
  EXPECT_EQ(bed.pipeline().usage().zero_copy_count, 10u);
  EXPECT_EQ(bed.pipeline().usage().staged_bytes, 0u);
  bed.expect_nothing_left();
}

// To the nanosecond: a result that came earlier would be one whose copy has not ended.
TEST(Pipeline, HandsOutAResultWhenItsCopyHasEndedAndNotBefore) {
  PipelineBed bed(kEven);
  Shards shards(2, 5000);
  bed.submit_all(shards);
  bed.devices().virtual_time()->advance(nanoseconds(3 * 5000 - 1));
  EXPECT_EQ(shards.records[0].calls, 0);
  bed.devices().virtual_time()->advance(nanoseconds(1));
  EXPECT_EQ(shards.records[0].calls, 1);
  EXPECT_EQ(shards.records[1].calls, 0);
  bed.run();
  PipelineBed::expect_done(shards);
}

TEST(Pipeline, HasAsMuchOnTheDeviceAsItsDepthAndNoMore) {
  for (std::size_t depth = 1; depth <= 8; ++depth) {
    PipelineBed bed(kEven, {.pipeline = {.depth = depth}});
    Shards shards(20, 4096);
    bed.submit_all(shards);
    EXPECT_EQ(bed.device().usage().allocated_bytes, depth * 2 * 4096);
    EXPECT_EQ(bed.staging().usage().used_bytes, depth * 2 * 4096);
    bed.run();
    EXPECT_EQ(bed.device().usage().allocated_bytes, depth * 2 * 4096);
    PipelineBed::expect_done(shards);
    bed.expect_nothing_left();
  }
}

TEST(Pipeline, TriesAgainWhenAnAllocationFails) {
  for (int at = 1; at <= 3; ++at) {
    PipelineBed bed(kEvenRates + ",fault=oom@" + std::to_string(at));
    Shards shards(10, 5000);
    bed.submit_all(shards);
    bed.run();
    PipelineBed::expect_done(shards);
    EXPECT_EQ(bed.pipeline().usage().retried_count, 1u);
    EXPECT_EQ(bed.pipeline().usage().depth, 3u);
    bed.expect_nothing_left();
  }
}

TEST(Pipeline, HasLessOnTheDeviceWhenItsMemoryLacks) {
  // Each shard takes 600 000 bytes of 1 MiB.
  PipelineBed bed(kEven);
  Shards shards(10, 300'000);
  bed.submit_all(shards);
  bed.run();
  PipelineBed::expect_done(shards);
  EXPECT_EQ(bed.pipeline().usage().depth, 1u);
  EXPECT_LE(bed.pipeline().usage().retried_count, 3u);
  bed.expect_nothing_left();
}

// Three slots keep 300 000 bytes each, and a shard needs 900 000 of 1 MiB.
TEST(Pipeline, TakesTheMemoryOfIdleSlotsForALargerShard) {
  PipelineBed bed(kEven);
  Shards small(3, 150'000);
  bed.submit_all(small);
  bed.run();
  PipelineBed::expect_done(small);
  Shards large(1, 450'000);
  bed.submit_all(large);
  bed.run();
  PipelineBed::expect_done(large);
  EXPECT_EQ(bed.pipeline().usage().depth, 3u);
  bed.expect_nothing_left();
}

// Gives its halves to each other as long as they do not fit, and adds up what comes back.
class Halves {
 public:
  Halves(PipelineBed& bed, std::span<std::byte> input)
      : result(input.size()), bed_(bed), input_(input) {}

  DeviceWork work(std::size_t offset, std::size_t size_bytes) {
    return {.kernel = "map_twice_plus",
            .arguments = {std::byte{0}},
            .input = input_.subspan(offset, size_bytes),
            .output_bytes = size_bytes,
            .on_done =
                [this, offset](const WorkOutcome& outcome) {
                  EXPECT_TRUE(outcome.status.ok());
                  paths.push_back(outcome.path);
                  std::copy(outcome.result.begin(), outcome.result.end(),
                            result.begin() + static_cast<std::ptrdiff_t>(offset));
                },
            .split =
                [this, offset, size_bytes] {
                  const std::size_t half = size_bytes / 2;
                  std::vector<DeviceWork> pieces;
                  if (size_bytes > least) {
                    pieces.push_back(work(offset, half));
                    pieces.push_back(work(offset + half, size_bytes - half));
                  }
                  return pieces;
                }};
  }

  void run() {
    EXPECT_TRUE(bed_.pipeline().submit(work(0, input_.size())).ok());
    bed_.run();
  }

  std::size_t least = 1000;
  testing::Bytes result;
  std::vector<WorkPath> paths;

 private:
  PipelineBed& bed_;
  const std::span<std::byte> input_;
};

TEST(Pipeline, SplitsWhatDoesNotFitTheDevice) {
  PipelineBed bed(kEven);
  Shards shards(1, 2'000'000);
  Halves halves(bed, shards.input);
  halves.run();
  // 4 000 000 bytes, then twice 2 000 000, then four that fit.
  EXPECT_THAT(halves.paths, ::testing::ElementsAre(WorkPath::kDevice, WorkPath::kDevice,
                                                   WorkPath::kDevice, WorkPath::kDevice));
  EXPECT_EQ(bed.pipeline().usage().split_count, 3u);
  EXPECT_EQ(halves.result, shards.expected(0));
  bed.expect_nothing_left();
}

TEST(Pipeline, RunsTheTwinOfWhatFitsNowhereAndCannotBeSplit) {
  PipelineBed bed(kEven);
  Shards shards(3, 2'000'000);
  bed.submit_all(shards);
  bed.run();
  PipelineBed::expect_done(shards, WorkPath::kHost);
  EXPECT_EQ(bed.pipeline().usage().host_count, 3u);
  Halves halves(bed, shards.input_of(0));
  halves.least = 1'500'000;
  halves.run();
  EXPECT_THAT(halves.paths, ::testing::ElementsAre(WorkPath::kHost, WorkPath::kHost));
  EXPECT_EQ(halves.result, shards.expected(0));
  bed.expect_nothing_left();
}

// Another user of the device has its memory: splitting is what is left.
TEST(Pipeline, SplitsWhenMemoryLacksForGood) {
  PipelineBed bed(kEven);
  const DeviceBuffer taken = bed.device().allocate((1 << 20) - 100'000).value();
  Shards shards(1, 200'000);
  Halves halves(bed, shards.input);
  halves.run();
  EXPECT_EQ(halves.result, shards.expected(0));
  EXPECT_EQ(bed.pipeline().usage().depth, 1u);
  EXPECT_GT(bed.pipeline().usage().split_count, 0u);
  EXPECT_EQ(bed.pipeline().usage().host_count, 0u);
}

TEST(Pipeline, RunsTwinsWhereTheOptionsSay) {
  std::vector<std::function<void()>> twins;
  PipelineBed bed(kEvenRates + ",fault=wrongarch",
                  {.pipeline = {.run_on_host = [&](std::function<void()> twin) {
                     twins.push_back(std::move(twin));
                   }}});
  Shards shards(5, 5000);
  bed.submit_all(shards);
  bed.run();
  ASSERT_EQ(twins.size(), 5u);
  EXPECT_EQ(shards.records[0].calls, 0);
  for (const std::function<void()>& twin : twins) {
    twin();
  }
  PipelineBed::expect_done(shards, WorkPath::kHost);
}

// The copies of the first shards happen, and no more once the kernel was refused.
TEST(Pipeline, LeavesADeviceThatAKernelIsNotBuiltFor) {
  PipelineBed bed(kEvenRates + ",fault=wrongarch");
  Shards shards(10, 5000);
  bed.submit_all(shards);
  bed.run();
  PipelineBed::expect_done(shards, WorkPath::kHost);
  for (const Record& record : shards.records) {
    EXPECT_LE(record.at - Instant(), nanoseconds(3 * 5000));
  }
  bed.expect_nothing_left();
}

TEST(Pipeline, TellsTheErrorsOfKernelsThatDoNotExistAndOfTwins) {
  PipelineBed bed(kEvenRates + ",fault=wrongarch");
  Shards shards(2, 5000);
  DeviceWork unknown = bed.work(shards, 0);
  unknown.kernel = "nobody's";
  DeviceWork failing = bed.work(shards, 1);
  failing.kernel = "fails";
  ASSERT_TRUE(bed.pipeline().submit(std::move(unknown)).ok());
  ASSERT_TRUE(bed.pipeline().submit(std::move(failing)).ok());
  bed.run();
  EXPECT_EQ(shards.records[0].code, ErrorCode::kNotFound);
  EXPECT_EQ(shards.records[0].calls, 1);
  EXPECT_EQ(shards.records[1].code, ErrorCode::kUnavailable);
  EXPECT_EQ(shards.records[1].path, WorkPath::kHost);
  EXPECT_EQ(shards.records[1].calls, 1);
  EXPECT_EQ(bed.pipeline().usage().failed_count, 2u);
  bed.expect_nothing_left();
}

TEST(Pipeline, CancelsWhatHasNotBegun) {
  const CancelSource cancel;
  PipelineBed bed(kEven, {.pipeline = {.cancel = cancel.token()}});
  Shards shards(10, 5000);
  bed.submit_all(shards);
  cancel.cancel();
  bed.run();
  for (std::size_t shard = 0; shard < 10; ++shard) {
    const Record& record = shards.records[shard];
    EXPECT_EQ(record.calls, 1);
    EXPECT_EQ(record.code, shard < 3 ? ErrorCode::kOk : ErrorCode::kCancelled) << shard;
  }
  bed.expect_nothing_left();
}

TEST(Pipeline, EndsWithEveryShardToldHowItEnded) {
  PipelineBed bed(kEven);
  Shards shards(10, 5000);
  bed.submit_all(shards);
  bed.devices().virtual_time()->advance(nanoseconds(7000));
  bed.end_pipelines();
  for (std::size_t shard = 0; shard < 10; ++shard) {
    const Record& record = shards.records[shard];
    EXPECT_EQ(record.calls, 1);
    EXPECT_EQ(record.code, shard < 3 ? ErrorCode::kOk : ErrorCode::kCancelled) << shard;
  }
  bed.expect_nothing_left();
}

TEST(Pipeline, AbandonsADeviceWhoseWorkDoesNotEnd) {
  PipelineBed bed(
      kEvenRates + ",fault=hang@8",
      {.pipeline = {.hang = {.factor = 20, .least = milliseconds(5), .first = seconds(10)}}});
  Shards shards(10, 5000);
  bed.submit_all(shards);
  bed.run();
  EXPECT_EQ(bed.device().fault(), DeviceFault::kHang);
  std::size_t done = 0;
  for (const Record& record : shards.records) {
    EXPECT_EQ(record.calls, 1);
    if (record.code == ErrorCode::kOk) {
      ++done;
      continue;
    }
    EXPECT_EQ(record.code, ErrorCode::kDeadlineExceeded);
    EXPECT_GE(record.at - Instant(), milliseconds(5));
    EXPECT_LE(record.at - Instant(), milliseconds(6));
  }
  EXPECT_GT(done, 0u);
  EXPECT_LT(done, 10u);
  bed.expect_nothing_left();
}

TEST(Pipeline, WaitsLongerForWorkOfWhichNothingIsKnown) {
  PipelineBed bed(kEvenRates + ",fault=hang@1",
                  {.pipeline = {.hang = {.least = milliseconds(5), .first = seconds(10)}}});
  Shards shards(4, 5000);
  bed.submit_all(shards);
  bed.run();
  for (const Record& record : shards.records) {
    EXPECT_EQ(record.code, ErrorCode::kDeadlineExceeded);
    EXPECT_EQ(record.at - Instant(), seconds(10));
  }
}

// The last moment where giving it up ends the process.
TEST(Pipeline, TellsOfADeviceThatHangsBeforeItGivesItUp) {
  for (const auto& [fault, limit, is_first] :
       {std::tuple(",fault=hang@1", Duration(seconds(10)), true),
        std::tuple(",fault=hang@8", Duration(milliseconds(5)), false)}) {
    SCOPED_TRACE(fault);
    std::vector<DeviceHang> hangs;
    const IDevice* device = nullptr;
    PipelineBed bed(kEvenRates + fault,
                    {.pipeline = {.hang = {.least = milliseconds(5), .first = seconds(10)},
                                  .on_hang = [&](const DeviceHang& hang) {
                                    hangs.push_back(hang);
                                    EXPECT_EQ(device->fault(), DeviceFault::kNone);
                                  }}});
    device = &bed.device();
    Shards shards(10, 5000);
    bed.submit_all(shards);
    bed.run();
    bed.expect_told(hangs, shards);
    ASSERT_EQ(hangs.size(), 1u);
    EXPECT_EQ(hangs[0].ids.size(), 3u);
    EXPECT_EQ(hangs[0].limit, limit);
    EXPECT_EQ(hangs[0].is_first, is_first);
  }
}

TEST(Pipeline, DoesNotTakeASlowDeviceForOneThatHangs) {
  PipelineBed bed(kEvenRates + ",fault=slow@50x",
                  {.pipeline = {.hang = {.factor = 2, .least = nanoseconds(1)}}});
  Shards shards(50, 5000);
  bed.submit_all(shards);
  bed.run();
  PipelineBed::expect_done(shards);
}

TEST(Pipeline, WaitsForStagingThatOtherShardsHave) {
  // Room for one shard at a time.
  PipelineBed bed(kEven, {.staging_bytes = 64 << 10});
  Shards shards(10, 30'000);
  bed.submit_all(shards);
  EXPECT_EQ(bed.staging().usage().used_bytes, 60u << 10);
  bed.run();
  PipelineBed::expect_done(shards);
  EXPECT_EQ(bed.pipeline().usage().pageable_count, 0u);
  EXPECT_EQ(bed.pipeline().usage().depth, 3u);
  bed.expect_nothing_left();
}

TEST(Pipeline, CopiesByOtherMemoryWhereStagingIsTooSmallOrNotRegistered) {
  {
    PipelineBed bed(kEven, {.staging_bytes = 8 << 10});
    Shards shards(5, 30'000);
    bed.submit_all(shards);
    bed.run();
    PipelineBed::expect_done(shards);
    EXPECT_EQ(bed.pipeline().usage().pageable_count, 5u);
    bed.expect_nothing_left();
  }
  PipelineBed bed(kEvenRates + ",fault=regfail");
  Shards shards(5, 30'000);
  bed.submit_all(shards);
  bed.run();
  PipelineBed::expect_done(shards);
  EXPECT_EQ(bed.pipeline().usage().pageable_count, 5u);
  bed.expect_nothing_left();
}

TEST(Pipeline, TellsThatTheHostHasNoMemory) {
  PipelineBed bed(kEven, {.staging_bytes = 8 << 10, .memory_bytes = 16 << 10});
  Shards shards(3, 30'000);
  bed.submit_all(shards);
  bed.run();
  for (const Record& record : shards.records) {
    EXPECT_EQ(record.calls, 1);
    EXPECT_EQ(record.code, ErrorCode::kResourceExhausted);
  }
  bed.expect_nothing_left();
}

TEST(Pipeline, TakesMoreWorkFromACallback) {
  PipelineBed bed(kEven);
  Shards shards(10, 5000);
  std::size_t next = 0;
  std::function<void()> submit_next = [&] {
    if (next == shards.records.size()) {
      return;
    }
    DeviceWork work = bed.work(shards, next++);
    work.on_done = [&, told = std::move(work.on_done)](const WorkOutcome& outcome) {
      told(outcome);
      submit_next();
    };
    EXPECT_TRUE(bed.pipeline().submit(std::move(work)).ok());
  };
  submit_next();
  bed.run();
  PipelineBed::expect_done(shards);
}

TEST(Pipeline, RefusesWorkBeyondItsQueueAndWorkThatTellsNobody) {
  PipelineBed bed(kEven, {.pipeline = {.depth = 2, .waiting_max = 3}});
  Shards shards(5, 5000);
  bed.submit_all(shards);
  Shards more(1, 5000);
  EXPECT_EQ(bed.pipeline().submit(bed.work(more, 0)).code(), ErrorCode::kResourceExhausted);
  bed.run();
  PipelineBed::expect_done(shards);
  EXPECT_EQ(more.records[0].calls, 0);
  EXPECT_EQ(bed.pipeline().submit({.kernel = "map_twice_plus"}).code(),
            ErrorCode::kInvalidArgument);
  bed.submit(more, 0);
  bed.run();
  PipelineBed::expect_done(more);
}

TEST(Pipeline, RefusesOptionsOutsideTheirRange) {
  PipelineBed bed(kEven);
  const KernelRegistry kernels{};
  for (const PipelineOptions& options :
       {PipelineOptions{.depth = 0}, PipelineOptions{.depth = 9}, PipelineOptions{.waiting_max = 0},
        PipelineOptions{.hang = {.factor = 0.5}}, PipelineOptions{.hang = {.factor = std::nan("")}},
        PipelineOptions{.hang = {.least = Duration()}},
        PipelineOptions{.hang = {.first = Duration()}}}) {
    const auto refused = Pipeline::create(bed.staging(), kernels, bed.devices().timer(), options);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kInvalidArgument);
  }
  bed.device().abandon();
  EXPECT_EQ(Pipeline::create(bed.staging(), kernels, bed.devices().timer(), {}).error().code(),
            ErrorCode::kDeadlineExceeded);
}

TEST(Pipeline, TellsWhenEachStageOfWorkBeganAndEnded) {
  std::vector<StageSpan> spans;
  PipelineBed bed(
      kEven, {.pipeline = {.on_stage = [&](const StageSpan& span) { spans.push_back(span); }}});
  Shards shards(2, 4096);
  for (std::size_t shard = 0; shard < 2; ++shard) {
    DeviceWork work = bed.work(shards, shard);
    work.id = 10 + shard;
    ASSERT_TRUE(bed.pipeline().submit(std::move(work)).ok());
  }
  bed.run();
  PipelineBed::expect_done(shards);
  ASSERT_EQ(spans.size(), 6u);
  // A byte takes a nanosecond in each stage.
  for (const StageSpan& span : spans) {
    const auto step =
        static_cast<std::int64_t>(span.stage) + static_cast<std::int64_t>(span.id - 10);
    EXPECT_EQ(span.begin, Instant() + Duration(4096 * step));
    EXPECT_EQ(span.end, Instant() + Duration(4096 * (step + 1)));
  }
  bed.expect_nothing_left();
}

}  // namespace
}  // namespace pinion
