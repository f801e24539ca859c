// What keeps a device fed with the units of a step, over a pipeline in virtual time.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/completion.hpp>
#include <pinion/gpu/emulated_devices.hpp>
#include <pinion/gpu/pipeline.hpp>
#include <pinion/gpu/virtual_time.hpp>

#include "engine/device_feed.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using engine::DeviceFeed;
using engine::LandedUnit;
using engine::OpenedPlan;

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::size_t kDepth = 3;

// Of a GPU: 25 GB/s in each stage, and 8 us for each copy and each launch.
constexpr const char* kGpu =
    "emu:1,effects=none,mem=64m,pinned=1g,h2d=25g,d2h=25g,kern=0.04x,latency=8us";

// Each copy and each launch costs 2 us, a byte a nanosecond in each stage.
constexpr const char* kWithEffects = "emu:1,mem=64m,pinned=1g,h2d=1g,d2h=1g,latency=2us";

// The first bytes of each shard, each plus one: less than the shard has, and not the same.
Status add_one(const KernelCall& call) {
  for (std::size_t shard = 0; shard < call.buffers.size(); shard += 3) {
    const std::span<std::byte> output = call.buffers[shard + 1];
    for (std::size_t i = 0; i < output.size(); ++i) {
      output[i] =
          static_cast<std::byte>((static_cast<unsigned>(call.buffers[shard][i]) + 1) & 0xff);
    }
  }
  return {};
}

// One device as the engine sees it, whose time passes only when the test lets it.
class VirtualDevices final : public IShardDevices {
 public:
  VirtualDevices(const std::string& spec, PagePool& pages, DeviceBatch batch)
      : batch_(batch),
        kernels_(make_kernels()),
        emulation_(EmulatedDevices::create(parse_emulation_spec(spec).value(), kernels_).value()),
        staging_(StagingPool::create(*devices()[0], pages, {}, 16 * kMiB).value()),
        pipeline_(
            Pipeline::create(*staging_, kernels_, emulation_->timer(), {.depth = kDepth}).value()) {
  }

  [[nodiscard]] std::span<IDevice* const> devices() const noexcept override {
    return emulation_->devices();
  }
  [[nodiscard]] Executor& feeders() noexcept override { std::terminate(); }
  [[nodiscard]] std::size_t depth() const noexcept override { return kDepth; }
  [[nodiscard]] DeviceBatch batch() const noexcept override { return batch_; }
  [[nodiscard]] std::size_t trace_row(std::size_t) const noexcept override { return 0; }
  [[nodiscard]] std::unique_ptr<IShardPolicy> make_policy() override { return nullptr; }
  void lose(std::size_t, const Status&) override {}

  [[nodiscard]] Status submit(std::size_t, DeviceTask task) override {
    if (held_ != nullptr) {
      held_->push_back(std::move(task));
      return {};
    }
    auto source = std::make_shared<CompletionSource>();
    overs_.push_back(source->completion());
    const std::uint64_t output_bytes = task.kernel->sizes(task.input.size()).output_bytes;
    return pipeline_->submit({.id = task.shard,
                              .kernel = task.kernel->name,
                              .input = task.input,
                              .output_bytes = output_bytes,
                              .takes_batches = task.kernel->takes_batches,
                              .cancel = task.cancel,
                              .on_done = [task, source](const WorkOutcome& outcome) {
                                if (outcome.status.ok()) {
                                  task.on_piece({.input = task.input, .output = outcome.result});
                                }
                                task.on_done(outcome.status);
                                source->signal({});
                              }});
  }

  /// Puts what comes from here on there, and not on the device.
  void hold(std::vector<DeviceTask>& tasks) { held_ = &tasks; }

  /// Lets time pass until the first unit that has not landed is over.
  void run_until_first() {
    EXPECT_TRUE(emulation_->virtual_time()->run_until(overs_.front()));
    overs_.pop_front();
  }

  /// Whether that unit is over already.
  [[nodiscard]] bool is_first_over() const { return !overs_.empty() && overs_.front().ready(); }

  [[nodiscard]] std::int64_t now_ns() {
    return emulation_->timer().clock().now().time_since_epoch().count();
  }
  [[nodiscard]] PipelineUsage usage() const { return pipeline_->usage(); }

  /// Memory of the host that the device has beside the staging.
  [[nodiscard]] std::uint64_t registered_bytes() const {
    const std::uint64_t staging_bytes =
        staging_->registration().ok() ? staging_->usage().size_bytes : 0;
    return devices()[0]->usage().registered_bytes - staging_bytes;
  }

  void expect_nothing_left() {
    EXPECT_EQ(registered_bytes(), 0u);
    pipeline_.reset();
    EXPECT_EQ(staging_->usage().used_bytes, 0u);
    EXPECT_EQ(devices()[0]->usage().allocated_bytes, 0u);
  }

 private:
  static KernelRegistry make_kernels() {
    KernelRegistry kernels;
    EXPECT_TRUE(kernels
                    .add("add_one", {.body = add_one,
                                     .cost = {.bytes_per_second = 1'000'000'000},
                                     .takes_batches = true})
                    .ok());
    return kernels;
  }

  const DeviceBatch batch_;
  const KernelRegistry kernels_{};
  const std::unique_ptr<EmulatedDevices> emulation_;
  const std::unique_ptr<StagingPool> staging_;
  std::unique_ptr<Pipeline> pipeline_;
  std::deque<Completion> overs_;
  std::vector<DeviceTask>* held_ = nullptr;
};

// A file whose bytes are known, cut into the units of a step.
class DeviceFeedTest : public testing::Test {
 protected:
  static constexpr DeviceBatch kBatch = {.bytes_max = kMiB, .count_max = 64};

  void write_file(std::uint64_t size_bytes) {
    std::vector<char> bytes(size_bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<char>(byte_at(i));
    }
    std::ofstream(path_, std::ios::binary).write(bytes.data(), std::ssize(bytes));
    size_bytes_ = size_bytes;
  }

  static std::byte byte_at(std::uint64_t offset) {
    return static_cast<std::byte>((offset * 31 + (offset >> 9)) & 0xff);
  }

  /// Units of these sizes, all from the begin of the file.
  void plan(const std::vector<std::uint64_t>& sizes) {
    StepPlan plan = {.listing =
                         InputListing(InputKind::kBytes,
                                      {{.path = path_, .size_bytes = size_bytes_}}, size_bytes_)};
    for (const std::uint64_t size : sizes) {
      plan.shards.push_back({.begin = 0, .end = size});
    }
    plan_ = std::make_shared<const OpenedPlan>(std::move(plan));
  }

  void open(const std::string& spec, DeviceBatch batch = kBatch) {
    devices_.emplace(spec, pages_, batch);
    feed_.emplace(
        engine::FeedWork{.devices = *devices_,
                         .kernel = kernel_,
                         .job_seed = 1,
                         .reader = {.pages = {.pool = &pages_, .use = MemoryUse::kInput}}});
  }

  void start() {
    const Status started = feed_->start(
        {.unit = started_count_, .fence = {1, started_count_ + 1}, .attempt = 1}, plan_);
    EXPECT_TRUE(started.ok()) << started.to_string();
    ++started_count_;
  }

  /// Starts units until no more are taken. How many are on the way then.
  std::size_t fill() {
    while (!feed_->is_full()) {
      start();
    }
    return started_count_ - landed_count_;
  }

  LandedUnit land() {
    devices_->run_until_first();
    LandedUnit unit = feed_->land();
    EXPECT_EQ(unit.lease.unit, landed_count_);
    ++landed_count_;
    return unit;
  }

  void land_all() {
    while (!feed_->is_empty()) {
      static_cast<void>(land());
    }
  }

  /// All of the plan, as a worker that has enough leases does it. In virtual time.
  std::int64_t time_of_plan() {
    const std::size_t count = (**plan_).shards.size();
    while (landed_count_ < count) {
      if (started_count_ < count && !feed_->is_full()) {
        start();
      } else {
        EXPECT_TRUE(land().status.ok());
      }
    }
    return devices_->now_ns();
  }

  /// All of the plan, whose units come back with what the kernel makes of them.
  void expect_right_bytes_of_plan() {
    const std::vector<ShardRange>& shards = (**plan_).shards;
    while (landed_count_ < shards.size()) {
      if (started_count_ < shards.size() && !feed_->is_full()) {
        start();
        continue;
      }
      const LandedUnit unit = land();
      ASSERT_TRUE(unit.status.ok()) << unit.status.to_string();
      ASSERT_EQ(unit.pieces.size(), 1u);
      const std::span<const std::byte> output = unit.pieces[0].output;
      ASSERT_EQ(output.size(), shards[unit.lease.unit].end);
      for (std::uint64_t i = 0; i < output.size(); ++i) {
        ASSERT_EQ(output[i],
                  static_cast<std::byte>((std::to_integer<unsigned>(byte_at(i)) + 1) & 0xff));
      }
    }
  }

  void close() {
    feed_.reset();
    devices_->expect_nothing_left();
    devices_.reset();
    started_count_ = 0;
    landed_count_ = 0;
  }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "input";
  std::uint64_t size_bytes_ = 0;
  MemoryLedger ledger_{{.budget_bytes = std::uint64_t{4} << 30}};
  PagePool pages_{ledger_, {}};
  DeviceKernel kernel_ = {
      .name = "add_one",
      .sizes = [](std::uint64_t bytes) { return KernelSizes{.output_bytes = bytes}; },
      .takes_batches = true};
  std::shared_ptr<const OpenedPlan> plan_;
  std::optional<VirtualDevices> devices_;
  std::optional<DeviceFeed> feed_;
  std::uint64_t started_count_ = 0;
  std::uint64_t landed_count_ = 0;
};

TEST_F(DeviceFeedTest, GivesEachUnitItsOwnBytes) {
  write_file(8 * kKiB);
  std::vector<std::uint64_t> sizes;
  for (std::uint64_t unit = 0; unit < 400; ++unit) {
    sizes.push_back(1 + unit * 13);
  }
  plan(sizes);
  open(kWithEffects);
  expect_right_bytes_of_plan();
  EXPECT_GT(devices_->usage().batch_count, 0u);
  close();
}

// The feed as it is, and as one that keeps three units on the way, whatever their size.
TEST_F(DeviceFeedTest, IsMuchQuickerOverSmallUnitsThanOneByOne) {
  write_file(4 * kKiB);
  plan(std::vector<std::uint64_t>(16'384, 4 * kKiB));
  open(kGpu);
  const std::int64_t together_ns = time_of_plan();
  EXPECT_EQ(devices_->usage().device_count, 16'384u);
  close();
  open(kGpu, {.count_max = 1});
  const std::int64_t alone_ns = time_of_plan();
  EXPECT_EQ(devices_->usage().batch_count, 0u);
  close();
  EXPECT_GE(alone_ns, 20 * together_ns);
  RecordProperty("together_us", std::to_string(together_ns / 1000));
  RecordProperty("alone_us", std::to_string(alone_ns / 1000));
}

// What the policy of a step is told of units that come back at once.
TEST_F(DeviceFeedTest, SharesTheTimeOfALaunchBetweenItsUnits) {
  write_file(4 * kKiB);
  plan(std::vector<std::uint64_t>(400, 1000));
  open(kWithEffects);
  std::size_t together_count = 0;
  while (landed_count_ < 400) {
    if (started_count_ < 400 && !feed_->is_full()) {
      start();
      continue;
    }
    const Duration busy = land().busy;
    EXPECT_GT(busy, Duration());
    while (devices_->is_first_over()) {
      EXPECT_EQ(land().busy, busy);
      ++together_count;
    }
  }
  EXPECT_GT(together_count, 200u);
  close();
}

TEST_F(DeviceFeedTest, CostsNothingWhereUnitsAreLarge) {
  write_file(2 * kMiB);
  plan(std::vector<std::uint64_t>(40, 2 * kMiB));
  open(kGpu);
  const std::int64_t with_batches_ns = time_of_plan();
  close();
  open(kGpu, {.count_max = 1});
  EXPECT_EQ(with_batches_ns, time_of_plan());
  close();
}

TEST_F(DeviceFeedTest, KeepsAsMuchOnTheWayAsItsLaunchesTake) {
  struct Case {
    std::uint64_t unit_bytes;  // And as many of output.
    std::size_t expected;
  };
  write_file(4 * kMiB);
  for (const Case& one : {Case{100, 4 * 64}, Case{8 * kKiB, 4 * 64}, Case{16 * kKiB, 128},
                          Case{100'000, 21}, Case{kMiB, 3}, Case{4 * kMiB, 3}}) {
    SCOPED_TRACE(one.unit_bytes);
    plan(std::vector<std::uint64_t>(1000, one.unit_bytes));
    open(kGpu);
    EXPECT_EQ(fill(), kDepth);  // Before it is known what the device takes for one.
    static_cast<void>(land());
    EXPECT_EQ(fill(), one.expected);
    land_all();
    close();
  }
}

TEST_F(DeviceFeedTest, KeepsThreeUnitsOnTheWayOfAKernelThatTakesNoBatches) {
  kernel_.takes_batches = false;
  write_file(4 * kKiB);
  plan(std::vector<std::uint64_t>(10, 100));
  open(kGpu);
  static_cast<void>(fill());
  static_cast<void>(land());
  EXPECT_EQ(fill(), kDepth);
  land_all();
  close();
}

// At each instant the units are cancelled: what has begun on the device is done, what has not is
// not, each lands once and in its turn, and the feed then goes on.
TEST_F(DeviceFeedTest, GivesBackWhatIsCancelledBeforeItBegan) {
  write_file(4 * kKiB);
  plan(std::vector<std::uint64_t>(60, 1000));
  bool some_were_done = false;
  for (std::uint64_t landed_before = 1; landed_before <= 40; ++landed_before) {
    SCOPED_TRACE(landed_before);
    open(kWithEffects);
    static_cast<void>(fill());
    static_cast<void>(land());
    while (started_count_ < 50) {
      start();
    }
    while (landed_count_ < landed_before) {
      EXPECT_TRUE(land().status.ok());
    }
    feed_->cancel();
    std::size_t cancelled_count = 0;
    while (!feed_->is_empty()) {
      const LandedUnit unit = land();
      const bool is_cancelled = unit.status.code() == ErrorCode::kCancelled;
      EXPECT_TRUE(is_cancelled || unit.status.ok()) << unit.status.to_string();
      EXPECT_EQ(unit.pieces.empty(), is_cancelled);
      EXPECT_TRUE(is_cancelled || cancelled_count == 0);  // The first ones have begun.
      cancelled_count += is_cancelled ? 1 : 0;
    }
    EXPECT_EQ(landed_count_, 50u);
    EXPECT_EQ(devices_->usage().device_count, 50 - cancelled_count);
    EXPECT_TRUE(landed_before > 1 || cancelled_count > 40);
    some_were_done = some_were_done || cancelled_count < 50 - landed_before;
    start();
    EXPECT_TRUE(land().status.ok());
    close();
    EXPECT_EQ(ledger_.usage().of(MemoryUse::kInput).used_bytes, 0u);
  }
  EXPECT_TRUE(some_were_done);
}

// A device with so much memory of the host to register, beside 16 MiB of staging.
std::string with_registered(const std::string& memory, const std::string& more = {}) {
  return "emu:1,mem=64m,pinned=" + memory + ",h2d=1g,d2h=1g,latency=2us" + more;
}

TEST_F(DeviceFeedTest, LetsTheDeviceReadLargeUnitsByItself) {
  write_file(2 * kMiB);
  plan(std::vector<std::uint64_t>(12, 2 * kMiB));
  open(with_registered("1g"));
  expect_right_bytes_of_plan();
  // The first in each lane goes by the staging, as nobody knows that others follow.
  EXPECT_EQ(devices_->usage().zero_copy_count, 12 - kDepth);
  EXPECT_EQ(devices_->usage().staged_bytes, kDepth * 2 * kMiB);
  EXPECT_GE(devices_->registered_bytes(), kDepth * 2 * kMiB);
  close();
}

TEST_F(DeviceFeedTest, RegistersNoMoreThanTheDeviceTakes) {
  write_file(2 * kMiB);
  plan(std::vector<std::uint64_t>(12, 2 * kMiB));
  open(with_registered("20m"));
  expect_right_bytes_of_plan();
  EXPECT_EQ(devices_->usage().zero_copy_count, 3u);  // Those of one lane.
  EXPECT_EQ(devices_->usage().staged_bytes, 9 * 2 * kMiB);
  EXPECT_EQ(devices_->registered_bytes(), 4 * kMiB);
  close();
}

TEST_F(DeviceFeedTest, GoesOnWhereRegisteringIsRefused) {
  write_file(2 * kMiB);
  plan(std::vector<std::uint64_t>(12, 2 * kMiB));
  open(with_registered("1g", ",fault=regfail"));
  expect_right_bytes_of_plan();
  EXPECT_EQ(devices_->usage().zero_copy_count, 0u);
  EXPECT_EQ(devices_->usage().staged_bytes, 12 * 2 * kMiB);
  close();
}

TEST_F(DeviceFeedTest, RegistersNoMemoryOfSmallUnits) {
  write_file(kMiB);
  plan(std::vector<std::uint64_t>(12, kMiB - 1));
  open(with_registered("1g"));
  expect_right_bytes_of_plan();
  EXPECT_EQ(devices_->usage().zero_copy_count, 0u);
  EXPECT_EQ(devices_->registered_bytes(), 0u);
  close();
}

// Each unit needs memory of its own, or goes where a larger one was.
TEST_F(DeviceFeedTest, ReadsUnitsOfAllSizesByItselfOrNot) {
  write_file(9 * kMiB);
  std::vector<std::uint64_t> sizes;
  for (std::uint64_t unit = 0; unit < 60; ++unit) {
    sizes.push_back(kMiB / 4 + unit * 7919 * 1000 % (8 * kMiB));
  }
  plan(sizes);
  open(with_registered("40m"));
  expect_right_bytes_of_plan();
  EXPECT_GT(devices_->usage().zero_copy_count, 0u);
  EXPECT_GT(devices_->usage().staged_bytes, 0u);
  close();
}

TEST_F(DeviceFeedTest, CancelsAtItsEndAndWaits) {
  write_file(4 * kKiB);
  plan(std::vector<std::uint64_t>(60, 1000));
  open(kGpu);
  std::vector<DeviceTask> tasks;
  devices_->hold(tasks);
  EXPECT_EQ(fill(), kDepth);
  std::atomic<bool> is_over = false;
  std::thread end([&] {
    feed_.reset();
    is_over = true;
  });
  for (const DeviceTask& task : tasks) {
    while (!task.cancel.cancelled()) {
      std::this_thread::yield();
    }
    EXPECT_FALSE(is_over);
    task.on_done(Status(ErrorCode::kCancelled, "nobody wants it"));
  }
  end.join();
}

std::size_t descriptor_count_of(const std::string& path) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    count += std::filesystem::read_symlink(entry, error) == path ? 1 : 0;
  }
  return count;
}

TEST_F(DeviceFeedTest, HasOneDescriptorForAllOfItsUnits) {
  write_file(4 * kKiB);
  plan(std::vector<std::uint64_t>(1000, 100));
  open(kGpu);
  static_cast<void>(fill());
  static_cast<void>(land());
  static_cast<void>(fill());
  EXPECT_EQ(descriptor_count_of(std::filesystem::canonical(path_)), 1u);
  land_all();
  close();
}

TEST_F(DeviceFeedTest, KeepsTheMemoryOfFewLargeUnits) {
  write_file(8 * kMiB);
  std::vector<std::uint64_t> sizes;
  for (std::size_t round = 0; round < 20; ++round) {
    sizes.insert(sizes.end(), 50, 100);
    sizes.insert(sizes.end(), 2, 8 * kMiB);
    sizes.insert(sizes.end(), round, 100);  // So that lanes change their order.
  }
  plan(sizes);
  open(kGpu);
  std::uint64_t most = 0;
  while (landed_count_ < sizes.size()) {
    if (started_count_ < sizes.size() && !feed_->is_full()) {
      start();
    } else {
      static_cast<void>(land());
    }
    most = std::max(most, ledger_.usage().of(MemoryUse::kInput).used_bytes);
  }
  EXPECT_GT(most, 2 * 16 * kMiB);
  EXPECT_LT(most, 5 * 16 * kMiB);
  RecordProperty("most", std::to_string(most));
  close();
}

}  // namespace
}  // namespace pinion
