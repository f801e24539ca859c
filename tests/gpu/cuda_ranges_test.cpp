// What a profiler is shown of the shards that go through a device of CUDA: each has a range.

#include <cstdint>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/page_pool.hpp>
#include <pinion/core/timer.hpp>
#include <pinion/gpu/pipeline.hpp>
#include <pinion/gpu/staging_pool.hpp>

#include "fake_cuda_bed.hpp"

namespace pinion {
namespace {

using ::testing::ElementsAre;
using testing::FakeCudaBed;
using testing::FakeCudaFaults;

// The kernel looks at no shard.
int launch_nothing(void*, std::span<const std::byte>, std::span<const DeviceSpan>) {
  return 0;
}

// A pipeline that has one launch at a time, so that what comes meanwhile goes together.
class CudaRanges : public ::testing::Test {
 protected:
  void open(FakeCudaFaults faults) {
    bed_ = std::make_unique<FakeCudaBed>(faults);
    bed_->fake().add_kernel("nothing", launch_nothing);
    staging_ = StagingPool::create(bed_->device(), pages_, {}, 16 << 10).value();
    constexpr std::chrono::seconds kNeverHangs{60};
    pipeline_ = Pipeline::create(*staging_, kernels_, *timer_,
                                 {.depth = 1, .hang = {.least = kNeverHangs, .first = kNeverHangs}})
                    .value();
  }

  // Gives the device the shard and calls `then` when it has come back.
  template <class Then>
  void submit(std::uint64_t shard, Then then) {
    const Status taken = pipeline_->submit(
        {.id = shard,
         .kernel = "nothing",
         .input = input_,
         .output_bytes = 2,
         .takes_batches = true,
         .on_done = [then](const WorkOutcome& outcome) { then(outcome.status); }});
    EXPECT_TRUE(taken.ok());
  }

  std::vector<std::string> profile_at_end() {
    pipeline_.reset();
    staging_.reset();
    EXPECT_EQ(bed_->fake().live_count(), 0u);
    return bed_->fake().profile();
  }

  const std::vector<std::byte> input_ = std::vector<std::byte>(2);
  const KernelRegistry kernels_{};
  MemoryLedger ledger_{{.budget_bytes = 16 << 20}};
  PagePool pages_{ledger_, {}};
  std::unique_ptr<ITimer> timer_ = SystemTimer::create().value();
  std::unique_ptr<FakeCudaBed> bed_;
  std::unique_ptr<StagingPool> staging_;
  std::unique_ptr<Pipeline> pipeline_;
};

TEST_F(CudaRanges, ShowEachShardOfALaunch) {
  open({});
  std::promise<void> last;
  submit(7, [&](const Status& first) {
    EXPECT_TRUE(first.ok());
    // Their range is over before they are told, and the device has room for them afterwards.
    for (const std::uint64_t shard : {8u, 9u, 10u}) {
      submit(shard, [&last, shard](const Status& status) {
        EXPECT_TRUE(status.ok());
        if (shard == 10) {
          last.set_value();
        }
      });
    }
  });
  last.get_future().wait();
  EXPECT_EQ(pipeline_->usage().batch_count, 1u);
  EXPECT_THAT(profile_at_end(), ElementsAre("begin 7", "launch", "end 7", "begin 8", "begin 9",
                                            "begin 10", "launch", "end 8", "end 9", "end 10"));
}

TEST_F(CudaRanges, EndWithTheDevice) {
  open({.work_error = 719, .work_at = 2});
  std::promise<Status> ended;
  submit(7, [&ended](const Status& status) { ended.set_value(status); });
  bed_->fake().let_work_fail();
  EXPECT_EQ(ended.get_future().get().code(), ErrorCode::kDataLoss);
  EXPECT_THAT(profile_at_end(), ElementsAre("begin 7", "launch", "end 7"));
}

}  // namespace
}  // namespace pinion
