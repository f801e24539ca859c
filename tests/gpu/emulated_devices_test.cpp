#include <pinion/gpu/emulated_devices.hpp>

#include <array>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "test_kernels.hpp"

// What the conformance suite does not say: instants, to the nanosecond, and counts of faults.

namespace pinion {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

constexpr std::size_t kMillion = 1'000'000;

class EmulatedTimes : public ::testing::Test {
 protected:
  EmulatedTimes() {
    EXPECT_TRUE(kernels_
                    .add("twice_plus",
                         {.body = testing::twice_plus, .cost = {.bytes_per_second = 1'000'000'000}})
                    .ok());
    EXPECT_TRUE(kernels_
                    .add("fails", {.body =
                                       [](const KernelCall&) {
                                         return Status(ErrorCode::kInvalidArgument,
                                                       "no such column");
                                       }})
                    .ok());
    EXPECT_TRUE(kernels_
                    .add("throws", {.body = [](const KernelCall&) -> Status {
                           throw std::runtime_error("no such row");
                         }})
                    .ok());
    EXPECT_TRUE(kernels_
                    .add("hangs", {.body =
                                       [](const KernelCall&) {
                                         return Status(ErrorCode::kDeadlineExceeded, "for ever");
                                       }})
                    .ok());
  }

  // 1 byte a nanosecond each way, and half of that for memory that is not registered.
  void open(const std::string& settings) {
    stream_.reset();
    registration_ = {};
    buffer_ = {};
    devices_ =
        EmulatedDevices::create(
            parse_emulation_spec("emu:1,h2d=1g,d2h=1g,pageable=500m" + settings).value(), kernels_)
            .value();
    buffer_ = device().allocate(kMillion).value();
    Result<HostRegistration> registration = device().register_host(memory_);
    registration_ = registration ? *std::move(registration) : HostRegistration();
    stream_ = device().create_stream().value();
    begin_ = devices_->timer().clock().now();
  }

  IDevice& device() { return *devices_->devices()[0]; }
  DeviceSpan span(std::uint64_t size_bytes) { return buffer_.span().part(0, size_bytes); }

  Duration since_begin() { return devices_->timer().clock().now() - begin_; }
  Duration until(IDeviceStream& stream) {
    devices_->wait(stream.reached());
    return since_begin();
  }

  static Status launch(IDeviceStream& stream, DeviceSpan buffer,
                       std::string_view kernel = "twice_plus") {
    const std::byte argument{1};
    return stream.launch(kernel, std::span(&argument, 1), std::span(&buffer, 1));
  }

  KernelRegistry kernels_;
  std::vector<std::byte> memory_ = std::vector<std::byte>(2 * kMillion);
  std::span<std::byte> first_ = std::span(memory_).first(kMillion);
  std::span<std::byte> second_ = std::span(memory_).last(kMillion);
  std::vector<std::byte> pageable_ = std::vector<std::byte>(kMillion);
  std::unique_ptr<EmulatedDevices> devices_;
  DeviceBuffer buffer_;
  HostRegistration registration_;
  std::unique_ptr<IDeviceStream> stream_;
  Instant begin_;
};

TEST_F(EmulatedTimes, AreThoseOfBytesAndRates) {
  open("");
  ASSERT_TRUE(stream_->copy_in(span(1001), first_.first(1001)).ok());
  EXPECT_EQ(until(*stream_), nanoseconds(1001));
  ASSERT_TRUE(stream_->copy_out(std::span(pageable_).first(1000), span(1000)).ok());
  EXPECT_EQ(until(*stream_), nanoseconds(1001 + 2000));
  ASSERT_TRUE(launch(*stream_, span(500)).ok());
  EXPECT_EQ(until(*stream_), nanoseconds(1001 + 2000 + 500));
}

TEST_F(EmulatedTimes, AddLatenciesAndFactors) {
  open(",latency=10us,kern=1.5x,fault=slow@2x");
  ASSERT_TRUE(stream_->copy_in(span(1000), first_.first(1000)).ok());
  EXPECT_EQ(until(*stream_), 2 * nanoseconds(10'000 + 1000));
  ASSERT_TRUE(launch(*stream_, span(1000)).ok());
  EXPECT_EQ(until(*stream_), 2 * nanoseconds(10'000 + 1000) + 2 * nanoseconds(10'000 + 1500));
}

TEST_F(EmulatedTimes, OfBothDirectionsOverlapWithTwoCopyEngines) {
  for (const auto& [settings, expected] : {std::pair(",copy_engines=2", nanoseconds(kMillion)),
                                           std::pair(",copy_engines=1", nanoseconds(2 * kMillion)),
                                           std::pair(",copy_engines=3", nanoseconds(kMillion))}) {
    open(settings);
    const auto other = device().create_stream().value();
    ASSERT_TRUE(stream_->copy_in(span(kMillion), first_).ok());
    ASSERT_TRUE(other->copy_out(second_, span(kMillion)).ok());
    const Duration first = until(*stream_);
    EXPECT_EQ(first, nanoseconds(kMillion)) << settings;
    EXPECT_EQ(until(*other), expected) << settings;
  }
}

TEST_F(EmulatedTimes, OfOneDirectionShareItsRate) {
  open("");
  const auto other = device().create_stream().value();
  ASSERT_TRUE(stream_->copy_in(span(1000), first_.first(1000)).ok());
  ASSERT_TRUE(other->copy_in(span(1000), second_.first(1000)).ok());
  EXPECT_EQ(until(*stream_), nanoseconds(1000));
  EXPECT_EQ(until(*other), nanoseconds(2000));
}

TEST_F(EmulatedTimes, OfAKernelAndCopiesOverlap) {
  open("");
  const auto other = device().create_stream().value();
  ASSERT_TRUE(launch(*other, span(kMillion)).ok());
  ASSERT_TRUE(stream_->copy_in(span(kMillion), first_).ok());
  devices_->wait(stream_->reached());
  EXPECT_EQ(until(*other), nanoseconds(kMillion));
}

TEST_F(EmulatedTimes, AreTheSameEachTime) {
  std::vector<Duration> times;
  for (int run = 0; run < 2; ++run) {
    open(",latency=3us,fault=slow@1.7x");
    const auto other = device().create_stream().value();
    for (std::size_t round = 1; round < 20; ++round) {
      ASSERT_TRUE(stream_->copy_in(span(round * 97), first_.first(round * 97)).ok());
      ASSERT_TRUE(other->wait_for(*stream_).ok());
      ASSERT_TRUE(launch(*other, span(round * 31)).ok());
    }
    times.push_back(until(*other));
  }
  EXPECT_EQ(times[0], times[1]);
  EXPECT_GT(times[0], Duration());
}

TEST_F(EmulatedTimes, PassOnlyWhenTheProgramLetsThem) {
  open("");
  ASSERT_TRUE(stream_->copy_in(span(1000), first_.first(1000)).ok());
  const Completion copied = stream_->reached();
  devices_->virtual_time()->advance(nanoseconds(999));
  EXPECT_FALSE(copied.ready());
  devices_->virtual_time()->advance(nanoseconds(1));
  EXPECT_TRUE(copied.ready());
}

TEST_F(EmulatedTimes, PassWithoutEffectsAndWithoutMemory) {
  open(",effects=none,mem=1t,pinned=1t");
  const DeviceBuffer huge = device().allocate(std::uint64_t{1} << 39).value();
  EXPECT_EQ(device().usage().allocated_bytes, (std::uint64_t{1} << 39) + kMillion);
  first_[0] = std::byte{7};
  ASSERT_TRUE(stream_->copy_in(huge.span().part(5, kMillion), first_).ok());
  ASSERT_TRUE(launch(*stream_, huge.span().part(0, 1000)).ok());
  ASSERT_TRUE(stream_->copy_out(first_, huge.span().part(5, kMillion)).ok());
  EXPECT_EQ(until(*stream_), nanoseconds(2 * kMillion + 1000));
  EXPECT_EQ(first_[0], std::byte{7});
}

TEST_F(EmulatedTimes, OfALostDeviceEndAtThatTime) {
  open(",fault=lost@500ns");
  ASSERT_TRUE(stream_->copy_in(span(1000), first_.first(1000)).ok());
  EXPECT_EQ(until(*stream_), nanoseconds(500));
  EXPECT_EQ(device().fault(), DeviceFault::kLost);
}

TEST_F(EmulatedTimes, StickyFaultsComeAtTheirOperationInTheOrderOfBeginning) {
  for (std::uint64_t at = 1; at <= 6; ++at) {
    open(",fault=sticky@" + std::to_string(at));
    std::vector<Completion> marks;
    for (std::size_t round = 0; round < 6; ++round) {
      ASSERT_TRUE(stream_->copy_in(span(1000), first_.first(1000)).ok());
      marks.push_back(stream_->reached());
    }
    EXPECT_EQ(until(*stream_), nanoseconds(1000 * at));
    for (std::uint64_t round = 0; round < 6; ++round) {
      EXPECT_EQ(marks[round].status().ok(), round + 1 < at) << "operation " << round + 1;
    }
    EXPECT_EQ(device().fault(), DeviceFault::kSticky);
  }
}

TEST_F(EmulatedTimes, AKernelThatFailsOrThrowsIsAStickyFaultInItsWords) {
  for (const auto& [kernel, words] :
       {std::pair("fails", "no such column"), std::pair("throws", "no such row")}) {
    open("");
    ASSERT_TRUE(launch(*stream_, span(10), kernel).ok());
    const Completion done = stream_->reached();
    devices_->wait(done);
    EXPECT_EQ(done.status().code(), ErrorCode::kDataLoss);
    EXPECT_NE(done.status().message().find(words), std::string_view::npos);
    EXPECT_EQ(device().fault(), DeviceFault::kSticky);
  }
}

TEST_F(EmulatedTimes, AKernelThatHangsHoldsUpItsStreamUntilTheDeviceIsGivenUp) {
  open("");
  ASSERT_TRUE(launch(*stream_, span(10), "hangs").ok());
  const Completion done = stream_->reached();
  const auto other = device().create_stream().value();
  ASSERT_TRUE(other->copy_in(span(1000), first_.first(1000)).ok());
  devices_->wait(other->reached());
  devices_->virtual_time()->run();
  EXPECT_FALSE(done.ready());
  EXPECT_EQ(device().fault(), DeviceFault::kNone);
  device().abandon();
  EXPECT_EQ(done.status().code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(device().fault(), DeviceFault::kHang);
}

TEST_F(EmulatedTimes, ABufferThatEndsBeforeItsWorkIsAStickyFault) {
  open("");
  {
    const DeviceBuffer brief = device().allocate(100).value();
    ASSERT_TRUE(stream_->copy_in(brief.span(), first_.first(100)).ok());
  }
  const DeviceBuffer next = device().allocate(100).value();
  const Completion done = stream_->reached();
  devices_->wait(done);
  EXPECT_EQ(done.status().code(), ErrorCode::kDataLoss);
}

TEST_F(EmulatedTimes, StreamsThatEndLetTimePass) {
  open("");
  ASSERT_TRUE(stream_->copy_in(span(1000), first_.first(1000)).ok());
  stream_.reset();
  EXPECT_EQ(since_begin(), nanoseconds(1000));
}

TEST(EmulatedDevices, RefusesASpecThatCannotWork) {
  const KernelRegistry kernels{};
  const EmulationSpec good = parse_emulation_spec("emu:2").value();
  EmulationSpec spec = good;
  spec.devices.clear();
  EXPECT_FALSE(EmulatedDevices::create(spec, kernels).has_value());
  const std::array<void (*)(EmulatedDeviceSpec&), 7> changes = {
      [](EmulatedDeviceSpec& device) { device.info.memory_bytes = 0; },
      [](EmulatedDeviceSpec& device) { device.info.copy_engine_count = 0; },
      [](EmulatedDeviceSpec& device) { device.copy_in_rate = 0; },
      [](EmulatedDeviceSpec& device) { device.copy_out_rate = 0; },
      [](EmulatedDeviceSpec& device) { device.pageable_rate = 0; },
      [](EmulatedDeviceSpec& device) { device.kernel_factor = 0.0; },
      [](EmulatedDeviceSpec& device) {
        device.faults.slow_factor = std::numeric_limits<double>::quiet_NaN();
      }};
  for (const auto change : changes) {
    spec = good;
    change(spec.devices[1]);
    const auto refused = EmulatedDevices::create(spec, kernels);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(refused.error().message().find("device 1"), std::string_view::npos);
  }
}

TEST(EmulatedDevicesDeathTest, EndTheProcessWhereTheyCannotBeGivenUp) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const KernelRegistry kernels{};
  auto devices =
      EmulatedDevices::create(parse_emulation_spec("emu:2,fault=1:noabandon").value(), kernels)
          .value();
  devices->devices()[0]->abandon();
  EXPECT_EQ(devices->devices()[0]->fault(), DeviceFault::kHang);
  EXPECT_EXIT(devices->devices()[1]->abandon(),
              ::testing::ExitedWithCode(error_info(ErrorCode::kDeadlineExceeded).exit_status),
              "device 1 was abandoned.*this process ends");
}

// One that has failed has nothing under way.
TEST(EmulatedDevices, ThatHaveFailedCanAlwaysBeGivenUp) {
  const KernelRegistry kernels{};
  auto devices = EmulatedDevices::create(
                     parse_emulation_spec("emu:1,fault=lost@0s,fault=noabandon").value(), kernels)
                     .value();
  devices->devices()[0]->abandon();
  EXPECT_EQ(devices->devices()[0]->fault(), DeviceFault::kLost);
}

TEST(EmulatedDevices, EndWithWorkThatWaits) {
  const KernelRegistry kernels{};
  for (const char* const text : {"emu:1,fault=lost@1s", "emu:1,time=real,fault=lost@1000s"}) {
    auto devices = EmulatedDevices::create(parse_emulation_spec(text).value(), kernels).value();
    EXPECT_EQ(devices->virtual_time() == nullptr,
              std::string(text).find("real") != std::string::npos);
    EXPECT_EQ(devices->devices()[0]->fault(), DeviceFault::kNone);
  }
}

}  // namespace
}  // namespace pinion
