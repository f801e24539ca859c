// Steps whose shards run on emulated devices, in real time, beside the workers of a rank.

#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <pinion/gpu/kernels.hpp>
#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/sum_vector.hpp>

#include "devices/rank_devices.hpp"
#include "shard/engine/fake_job.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::ContainsRegex;
using testing::HasSubstr;

using Counts = std::vector<std::uint64_t>;

Counts counts_of(std::span<const std::byte> bytes) {
  Counts counts(256);
  for (const std::byte value : bytes) {
    ++counts[std::to_integer<std::size_t>(value)];
  }
  return counts;
}

void emit_counts(const Counts& counts, auto& emit) {
  for (std::size_t value = 0; value < counts.size(); ++value) {
    emit(value, counts[value]);
  }
}

// Lets those go on who wait for something that happens once.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    opened_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [this] { return is_open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool is_open_ = false;
};

// A file, and a step over it whose kernel is called "count" and is one of Pinion, so that the
// answer is known.
class DeviceStep : public testing::Test {
 protected:
  static constexpr std::size_t kShardBytes = 4096;
  static constexpr std::size_t kShardCount = 48;

  DeviceStep() {
    std::vector<char> bytes(kShardBytes * kShardCount);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<char>((i * 31 + (i >> 9)) & 0x3f);
    }
    std::ofstream(path_, std::ios::binary).write(bytes.data(), std::ssize(bytes));
    expected_ = counts_of(std::as_bytes(std::span(bytes)));
    kernel_ = histogram_u8();
    kernel_.name = "count";
    kernel_.sizes = [](std::uint64_t) { return KernelSizes{.output_bytes = 2048}; };
    KernelRegistry of_pinion;
    EXPECT_TRUE(add_pinion_kernels(of_pinion).ok());
    EXPECT_TRUE(kernels_
                    .add("count", {.body =
                                       [this, count = of_pinion.find(kHistogramU8)->body](
                                           const KernelCall& call) {
                                         ++kernel_calls_;
                                         if (before_kernel_) {
                                           before_kernel_();
                                         }
                                         kernel_ran_.open();
                                         return count(call);
                                       }})
                    .ok());
  }

  std::unique_ptr<RankDevices> open(FakeRank& rank, const std::string& setting) {
    auto opened =
        RankDevices::open({.setting = setting,
                           .choice = {.first = rank.info().rank, .stride = rank.info().rank_count},
                           .staging_bytes = 1 << 20,
                           .pipeline = {.hang = {.least = hang_time_, .first = hang_time_}},
                           .worker_places = {Place()},
                           .pages = rank.pages(),
                           .trace = rank.trace(),
                           .kernels = kernels_,
                           .on_hang =
                               [this](const DeviceInfo& device, const Status& error) {
                                 const std::lock_guard lock(mutex_);
                                 EXPECT_EQ(device.uuid, "EMU-0");
                                 EXPECT_TRUE(lost_.empty()) << "it was given up before";
                                 hangs_.push_back(error);
                               },
                           .on_lost =
                               [this](const DeviceInfo&, const Status& error) {
                                 const std::lock_guard lock(mutex_);
                                 lost_.push_back(error);
                                 kernel_ran_.open();
                               }});
    // One that is lost at once may be so before it is open; the rank then goes on without.
    const bool may_be_lost = setting.find("lost@0s") != std::string::npos;
    if (!opened && may_be_lost && opened.error().code() == ErrorCode::kUnavailable) {
      return nullptr;
    }
    EXPECT_TRUE(opened.has_value()) << opened.error().to_string();
    return *std::move(opened);
  }

  // Bodies wait until a kernel has run, so that no device is left without a shard.
  Result<SumVector<std::uint64_t>::Result> count(IJobContext& job, bool wait_for_kernel) {
    return map_reduce(job, files({path_}), by_bytes(kShardBytes),
                      on_gpu(
                          [this, wait_for_kernel](const Shard& shard, auto& emit) {
                            if (wait_for_kernel) {
                              kernel_ran_.wait();
                            }
                            ++body_calls_;
                            emit_counts(counts_of(shard.bytes()), emit);
                          },
                          kernel_,
                          [this](const DevicePiece& piece, auto& emit) {
                            ++piece_count_;
                            if (fails_to_finish_) {
                              throw std::runtime_error("cannot be finished");
                            }
                            Counts counts(256);
                            std::memcpy(counts.data(), piece.output.data(), piece.output.size());
                            EXPECT_EQ(counts, counts_of(piece.input));
                            emit_counts(counts, emit);
                          }),
                      sum_vector<std::uint64_t>(256));
  }

  // Whose bodies wait until a kernel has run, or a device was lost.
  void take_two_steps(FakeRank& rank) {
    for (int step = 0; step < 2; ++step) {
      const auto answer = count(rank, true);
      ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
      EXPECT_THAT(answer->values(), testing::ElementsAreArray(expected_));
    }
  }

  // A step on `rank_count` ranks, each with its part of the devices of the setting.
  void run(const std::string& setting, std::uint32_t rank_count = 1, bool wait_for_kernel = false) {
    FakeJob job({.rank_count = rank_count, .batch_shard_count = 4});
    job.run([&](FakeRank& rank) {
      const std::unique_ptr<RankDevices> devices = open(rank, setting);
      if (devices != nullptr) {
        rank.use_devices(*devices);
      }
      const auto answer = count(rank, wait_for_kernel);
      ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
      EXPECT_THAT(answer->values(), testing::ElementsAreArray(expected_));
      for (std::size_t i = 0; devices != nullptr && i < devices->accounts().size(); ++i) {
        const DeviceAccount account = devices->accounts()[i];
        const std::lock_guard lock(mutex_);
        shard_count_ += account.shard_count;
        input_bytes_ += account.input_bytes;
        peak_bytes_ = std::max(peak_bytes_, account.peak_bytes);
        busy_ += account.busy;
      }
      rank.use_no_devices();
    });
  }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "input";
  Counts expected_;
  KernelRegistry kernels_;
  DeviceKernel kernel_;
  Duration hang_time_ = std::chrono::seconds(60);
  std::function<void()> before_kernel_;
  Gate kernel_ran_;
  std::atomic<int> kernel_calls_ = 0;
  std::atomic<std::uint64_t> body_calls_ = 0;
  std::atomic<std::uint64_t> piece_count_ = 0;
  std::atomic<bool> fails_to_finish_ = false;

  std::mutex mutex_;
  std::vector<Status> hangs_;
  std::vector<Status> lost_;
  std::uint64_t shard_count_ = 0;
  std::uint64_t input_bytes_ = 0;
  std::uint64_t peak_bytes_ = 0;
  Duration busy_ = {};
};

TEST_F(DeviceStep, GivesTheAnswerOfTheBodyWithAnyNumberOfDevicesAndRanks) {
  for (const std::uint32_t ranks : {1U, 2U, 3U}) {
    for (const char* const setting : {"emu:1,mem=1m", "emu:3,mem=1m,copy_engines=1"}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks, " + setting);
      run(setting, ranks);
    }
  }
  EXPECT_EQ(lost_.size(), 0u);
}

TEST_F(DeviceStep, RunsShardsOnTheDeviceAndOnTheWorkerAndCountsThem) {
  run("emu:1,mem=1m", 1, true);
  EXPECT_GT(shard_count_, 0u);
  EXPECT_EQ(shard_count_ + body_calls_, kShardCount);
  EXPECT_EQ(piece_count_, shard_count_);
  EXPECT_EQ(input_bytes_, shard_count_ * kShardBytes);
  EXPECT_GE(peak_bytes_, kShardBytes);
  EXPECT_LE(peak_bytes_, std::uint64_t{1} << 20);
  EXPECT_GT(busy_, Duration());
}

TEST_F(DeviceStep, SumsItsAccountsUpInGauges) {
  Metrics metrics(1);
  const std::vector<DeviceAccount> accounts = {
      {.shard_count = 1, .input_bytes = 2, .output_bytes = 3, .peak_bytes = 4, .busy = Duration(5)},
      {.shard_count = 10, .input_bytes = 20, .peak_bytes = 40, .busy = Duration(50)}};
  set_gauges(metrics, accounts);
  EXPECT_THAT(metrics.snapshot(),
              testing::UnorderedElementsAre(
                  MetricValue{"device shards", 11}, MetricValue{"device nanoseconds", 55},
                  MetricValue{"device input bytes", 22}, MetricValue{"device output bytes", 3},
                  MetricValue{"device memory peak bytes", 44}));
}

TEST_F(DeviceStep, ShowsItsStreamsInTheTrace) {
  kernel_.takes_batches = false;  // A span for each shard.
  FakeJob job({.trace = true});
  job.run([&](FakeRank& rank) {
    const std::unique_ptr<RankDevices> devices = open(rank, "emu:1,mem=1m");
    rank.use_devices(*devices);
    ASSERT_TRUE(count(rank, true).has_value());
    shard_count_ = devices->accounts()[0].shard_count;
    rank.use_no_devices();
    ASSERT_TRUE(rank.trace().write(folder_ / "trace.json", 0).ok());
  });
  std::ifstream file(folder_ / "trace.json");
  const nlohmann::json events = nlohmann::json::parse(file).at("traceEvents");
  std::map<std::string, std::vector<nlohmann::json>> spans;
  std::map<std::string, std::string> rows;
  for (const nlohmann::json& event : events) {
    if (event.at("ph") == "X") {
      spans[event.at("name")].push_back(event);
    } else if (event.contains("tid")) {
      rows[event.at("args").at("name")] = event.at("tid").dump();
    }
  }
  EXPECT_TRUE(rows.contains("device 0, shards"));
  ASSERT_GT(shard_count_, 0u);
  double end_before = 0.0;
  for (const char* const stage : {"copy in", "kernel", "copy out"}) {
    SCOPED_TRACE(stage);
    ASSERT_EQ(spans[stage].size(), shard_count_);
    const nlohmann::json& first = spans[stage].front();
    EXPECT_EQ(first.at("tid").dump(), rows.at("device 0, " + std::string(stage)));
    EXPECT_EQ(first.at("args").at("place"), "device 0 of host 0");
    EXPECT_GE(first.at("ts").get<double>(), end_before);
    end_before = first.at("ts").get<double>();
  }
}

TEST_F(DeviceStep, HasItsStagingAtTheNodeOfTheDeviceWhereWorkersAre) {
  const std::vector<Place> places = {{.index = 1}, {.index = 3}};
  EXPECT_EQ(staging_place({.near_memory = {.index = 3}}, places), places[1]);
  EXPECT_EQ(staging_place({.near_memory = {.index = 2}}, places), places[0]);
}

TEST_F(DeviceStep, SaysWhatItsPipelinesTakeAtOnce) {
  FakeJob job({});
  job.run([&](FakeRank& rank) {
    const std::unique_ptr<RankDevices> devices = open(rank, "emu:1");
    const PipelineOptions pipeline;
    EXPECT_EQ(devices->depth(), pipeline.depth);
    EXPECT_EQ(devices->batch().count_max, pipeline.batch_count_max);
    EXPECT_EQ(devices->batch().bytes_max, pipeline.batch_bytes_max);
  });
}

// Of twenty shards the device has three, and waits in a kernel, when they are cancelled.
TEST_F(DeviceStep, TakesBackWhatHasNotBegunWhenItIsCancelled) {
  Gate cancelled;
  before_kernel_ = [&] { cancelled.wait(); };
  FakeJob job({});
  job.run([&](FakeRank& rank) {
    const std::uint64_t staging_before = rank.memory().usage().of(MemoryUse::kStaging).used_bytes;
    std::unique_ptr<RankDevices> devices = open(rank, "emu:1,mem=1m");
    const std::vector<std::byte> input(kShardBytes);
    const CancelSource cancel;
    std::atomic<std::size_t> done_count = 0;
    std::atomic<std::size_t> cancelled_count = 0;
    std::latch over(20);
    for (std::uint64_t shard = 0; shard < 20; ++shard) {
      const Status submitted = devices->submit(
          0, {.kernel = &kernel_,
              .shard = shard,
              .input = input,
              .cancel = cancel.token(),
              .on_piece = [](const DevicePiece&) {},
              .on_done =
                  [&](const Status& status) {
                    done_count += status.ok() ? 1 : 0;
                    cancelled_count += status.code() == ErrorCode::kCancelled ? 1 : 0;
                    over.count_down();
                  }});
      EXPECT_TRUE(submitted.ok()) << submitted.to_string();
    }
    EXPECT_EQ(devices->accounts()[0].flying_count, 20u);
    cancel.cancel();
    cancelled.open();
    over.wait();
    EXPECT_EQ(done_count, 3u);
    EXPECT_EQ(cancelled_count, 17u);
    const DeviceAccount account = devices->accounts()[0];
    EXPECT_EQ(account.shard_count, 3u);
    EXPECT_EQ(account.cancelled_count, 17u);
    EXPECT_EQ(account.flying_count, 0u);
    devices.reset();
    EXPECT_EQ(rank.memory().usage().of(MemoryUse::kStaging).used_bytes, staging_before);
  });
}

TEST_F(DeviceStep, HasNothingOnItsDevicesWhenItHasFailed) {
  FakeJob job({});
  job.run([&](FakeRank& rank) {
    std::unique_ptr<RankDevices> devices = open(rank, "emu:1,mem=1m");
    rank.use_devices(*devices);
    const auto answer = map_reduce(
        rank, files({path_}), by_bytes(kShardBytes),
        on_gpu(
            [this](const Shard&, auto&) {
              kernel_ran_.wait();
              throw std::runtime_error("no such column");
            },
            kernel_, [](const DevicePiece&, auto&) { throw std::runtime_error("no such row"); }),
        sum_vector<std::uint64_t>(1));
    EXPECT_FALSE(answer.has_value());
    EXPECT_EQ(devices->accounts()[0].flying_count, 0u);
    rank.use_no_devices();
    devices.reset();
    EXPECT_EQ(rank.memory().usage().of(MemoryUse::kStaging).used_bytes, 0u);
    EXPECT_EQ(rank.memory().usage().of(MemoryUse::kInput).used_bytes, 0u);
  });
}

TEST_F(DeviceStep, CutsShardsThatFitNoDeviceWhole) {
  // 4 KiB of input and 2 KiB of output.
  run("emu:1,mem=5k", 1, true);
  EXPECT_GT(piece_count_, shard_count_);
  EXPECT_EQ(shard_count_ + body_calls_, kShardCount);
}

TEST_F(DeviceStep, LeavesShardsThatFitNoDeviceToTheWorkers) {
  kernel_.cut_bytes = 0;
  run("emu:1,mem=5k");
  EXPECT_EQ(body_calls_, kShardCount);
  EXPECT_EQ(kernel_calls_, 0);
}

TEST_F(DeviceStep, DoesByTheBodyWhatADeviceCannotDo) {
  for (const char* const setting : {"emu:2,fault=wrongarch", "emu:2,fault=oom@1"}) {
    SCOPED_TRACE(setting);
    body_calls_ = 0;
    piece_count_ = 0;
    run(setting);
    EXPECT_EQ(piece_count_ + body_calls_, kShardCount);
  }
  kernel_.name = "unknown";
  body_calls_ = 0;
  run("emu:2");
  EXPECT_EQ(body_calls_, kShardCount);
  EXPECT_EQ(lost_.size(), 0u);
}

TEST_F(DeviceStep, GoesOnWithoutADeviceThatFails) {
  hang_time_ = std::chrono::milliseconds(20);
  for (const char* const fault : {"sticky@1", "sticky@2", "sticky@3", "sticky@8", "hang@1",
                                  "hang@2", "hang@3", "hang@8", "lost@0s", "lost@1us"}) {
    SCOPED_TRACE(fault);
    body_calls_ = 0;
    piece_count_ = 0;
    lost_.clear();
    run("emu:1,mem=1m,fault=" + std::string(fault));
    EXPECT_LE(lost_.size(), 1u);
    EXPECT_EQ(piece_count_ + body_calls_, kShardCount);
  }
}

TEST_F(DeviceStep, SaysWhichShardsADeviceHasThatHangsBeforeItIsGivenUp) {
  hang_time_ = std::chrono::milliseconds(20);
  run("emu:1,mem=1m,fault=hang@2", 1, true);
  ASSERT_EQ(hangs_.size(), 1u);
  EXPECT_EQ(device_fault(hangs_[0].code()), DeviceFault::kHang);
  EXPECT_THAT(std::string(hangs_[0].message()),
              ContainsRegex("with shard [0-9]+ \\(bytes [0-9]+-[0-9]+ of [^ ]*/input\\)"
                            "( and [0-9]+ more)? on it: its work has not ended within 0.02 s "
                            "\\(setting hang-first-seconds\\)"));
  EXPECT_EQ(lost_.size(), 1u);
}

TEST_F(DeviceStep, WorksWithTheOthersWhenOneIsGoneFromTheStart) {
  FakeJob job({.batch_shard_count = 4});
  job.run([&](FakeRank& rank) {
    const std::unique_ptr<RankDevices> devices = open(rank, "emu:2,mem=1m,fault=0:lost@0s");
    ASSERT_NE(devices, nullptr);
    ASSERT_EQ(devices->devices().size(), 1u);
    EXPECT_EQ(devices->devices()[0]->info().place.index, 1u);
    rank.use_devices(*devices);
    const auto answer = count(rank, false);
    ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
    EXPECT_THAT(answer->values(), testing::ElementsAreArray(expected_));
    rank.use_no_devices();
  });
  ASSERT_EQ(lost_.size(), 1u);
  EXPECT_EQ(device_fault(lost_[0].code()), DeviceFault::kLost);
}

TEST_F(DeviceStep, HasNoDeviceWhenAllAreGoneFromTheStart) {
  FakeJob job({});
  job.run([&](FakeRank& rank) { EXPECT_EQ(open(rank, "emu:2,mem=1m,fault=lost@0s"), nullptr); });
  EXPECT_EQ(lost_.size(), 2u);
}

TEST_F(DeviceStep, TellsOfADeviceThatFailsOnce) {
  // The body waits until the device has had a shard, whose last copy is its third operation.
  FakeJob job({.batch_shard_count = 4});
  job.run([&](FakeRank& rank) {
    const std::unique_ptr<RankDevices> devices = open(rank, "emu:1,mem=1m,fault=sticky@3");
    rank.use_devices(*devices);
    take_two_steps(rank);
    rank.use_no_devices();
  });
  ASSERT_EQ(lost_.size(), 1u);
  EXPECT_EQ(device_fault(lost_[0].code()), DeviceFault::kSticky);
}

TEST_F(DeviceStep, TellsOfADeviceThatFailsWhileThereIsNoStep) {
  FakeJob job({.batch_shard_count = 4});
  job.run([&](FakeRank& rank) {
    // One that is gone before it is open is none of this rank's.
    std::unique_ptr<RankDevices> devices;
    for (int ms = 50; devices == nullptr && ms <= 3200; ms *= 4) {
      lost_.clear();
      devices = open(rank, "emu:1,mem=1m,fault=lost@" + std::to_string(ms) + "ms");
    }
    ASSERT_NE(devices, nullptr);
    rank.use_devices(*devices);
    const IDevice& device = *devices->devices()[0];
    for (int rounds = 0; device.fault() == DeviceFault::kNone && rounds < 10'000; ++rounds) {
      poll(nullptr, 0, 1);
    }
    EXPECT_EQ(device.fault(), DeviceFault::kLost);
    take_two_steps(rank);
    rank.use_no_devices();
  });
  ASSERT_EQ(lost_.size(), 1u);
  EXPECT_EQ(device_fault(lost_[0].code()), DeviceFault::kLost);
}

TEST_F(DeviceStep, TriesAShardByItsBodyWhenItCannotBeFinished) {
  fails_to_finish_ = true;
  run("emu:1,mem=1m", 1, true);
  EXPECT_GT(piece_count_, 0u);
  EXPECT_GE(body_calls_, kShardCount);
}

TEST_F(DeviceStep, RunsOrderedStepsAndIndicesByTheBodyAlone) {
  FakeJob job({});
  job.run([&](FakeRank& rank) {
    const std::unique_ptr<RankDevices> devices = open(rank, "emu:2,mem=1m");
    rank.use_devices(*devices);
    const auto body =
        on_gpu([](const Shard& shard, auto& emit) { emit(0, shard.end() - shard.begin()); },
               kernel_, [](const DevicePiece&, auto&) { FAIL(); });
    const auto bytes = map_reduce(rank, files({path_}), by_bytes(kShardBytes).ordered(), body,
                                  sum_vector<std::uint64_t>(1));
    ASSERT_TRUE(bytes.has_value());
    EXPECT_EQ(bytes->values()[0], kShardBytes * kShardCount);
    const auto numbers =
        map_reduce(rank, indices(100), by_index_range(7), body, sum_vector<std::uint64_t>(1));
    ASSERT_TRUE(numbers.has_value());
    EXPECT_EQ(numbers->values()[0], 100u);
    rank.use_no_devices();
  });
  EXPECT_EQ(kernel_calls_, 0);
}

TEST_F(DeviceStep, FailsAsItsBodyDoes) {
  FakeJob job({});
  job.run([&](FakeRank& rank) {
    const std::unique_ptr<RankDevices> devices = open(rank, "emu:1,mem=1m,fault=wrongarch");
    rank.use_devices(*devices);
    const auto answer =
        map_reduce(rank, files({path_}), by_bytes(kShardBytes),
                   on_gpu([](const Shard&, auto&) { throw std::runtime_error("no such column"); },
                          kernel_, [](const DevicePiece&, auto&) {}),
                   sum_vector<std::uint64_t>(1));
    ASSERT_FALSE(answer.has_value());
    EXPECT_THAT(std::string(answer.error().message()), HasSubstr("no such column"));
    rank.use_no_devices();
  });
}

}  // namespace
}  // namespace pinion
