#include "cuda/cuda_device.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/gpu/cuda_kernel.hpp>

#include "fake_cuda_bed.hpp"

namespace pinion {
namespace {

using testing::FakeCudaBed;
using testing::FakeCudaFaults;
using ::testing::HasSubstr;

// As a program has it in its own .cu file.
const CudaKernel kOwnKernel("cuda_device_test.twice_plus", testing::launch_twice_plus);

std::vector<std::byte> pattern(std::size_t size_bytes) {
  std::vector<std::byte> bytes(size_bytes);
  for (std::size_t i = 0; i < size_bytes; ++i) {
    bytes[i] = static_cast<std::byte>((i * 31 + (i >> 12)) & 0xff);
  }
  return bytes;
}

std::unique_ptr<IDeviceStream> stream_of(IDevice& device) {
  return device.create_stream().value();
}

TEST(CudaDevice, GivesBackAllThatItTook) {
  FakeCudaBed host((FakeCudaFaults()));
  {
    const auto stream = stream_of(host.device());
    const auto other = stream_of(host.device());
    const DeviceBuffer buffer = host.device().allocate(1000).value();
    auto memory = pattern(1000);
    const HostRegistration registration = host.device().register_host(memory).value();
    auto unregistered = pattern(1000);
    ASSERT_TRUE(stream->copy_in(buffer.span(), memory).ok());
    ASSERT_TRUE(other->wait_for(*stream).ok());
    ASSERT_TRUE(other->copy_out(unregistered, buffer.span()).ok());
    host.wait(other->reached());
    EXPECT_GT(host.fake().live_count(), 4u);
  }
  EXPECT_EQ(host.fake().live_count(), 0u);
}

// CUDA would make the caller wait for the device, or copy too early, were it given such memory.
TEST(CudaDevice, CopiesUnregisteredMemoryByPiecesThatAreRegistered) {
  auto session = std::make_shared<CudaSession>(
      std::make_unique<testing::FakeCuda>(testing::two_fake_devices()));
  const auto& fake = static_cast<const testing::FakeCuda&>(*session->runtime);
  CudaDevice device(session, 0, {.name = "large"}, {.memory_bytes = 64u << 20});
  const auto stream = stream_of(device);
  constexpr std::size_t kBytes = (5u << 20) + 77;
  const DeviceBuffer buffer = device.allocate(kBytes).value();
  const auto source = pattern(kBytes);
  std::vector<std::byte> target(kBytes);
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  ASSERT_TRUE(stream->copy_out(target, buffer.span()).ok());
  stream->reached().wait();
  EXPECT_EQ(target, source);
  EXPECT_EQ(fake.pageable_copy_count(), 0u);
}

TEST(CudaDevice, CopiesRegisteredMemoryWithoutAPieceBetween) {
  FakeCudaBed host((FakeCudaFaults()));
  const auto stream = stream_of(host.device());
  const DeviceBuffer buffer = host.device().allocate(1000).value();
  auto memory = pattern(1000);
  const HostRegistration registration = host.device().register_host(memory).value();
  const std::size_t before = host.fake().live_count();
  ASSERT_TRUE(stream->copy_in(buffer.span(), memory).ok());
  ASSERT_TRUE(stream->copy_out(memory, buffer.span()).ok());
  host.wait(stream->reached());
  EXPECT_EQ(host.fake().pageable_copy_count(), 0u);
  EXPECT_EQ(host.fake().live_count(), before + 1);  // The event of reached().
}

TEST(CudaDevice, SharesRegistrationsOfTheSameMemoryWithOtherDevices) {
  FakeCudaBed host((FakeCudaFaults()));
  auto memory = pattern(8192);
  const std::span<std::byte> all = memory;
  {
    HostRegistration first = host.device().register_host(all).value();
    const HostRegistration second = host.other_device().register_host(all).value();
    EXPECT_EQ(host.fake().registration_count(), 1u);
    first = HostRegistration();
    EXPECT_EQ(host.fake().registration_count(), 1u);
    EXPECT_FALSE(host.device().is_registered(all));
    EXPECT_TRUE(host.other_device().is_registered(all));
    // Another part of it is nothing that CUDA takes twice.
    const auto part = host.device().register_host(all.first(4096));
    ASSERT_FALSE(part.has_value());
    EXPECT_EQ(part.error().code(), ErrorCode::kFailedPrecondition);
    EXPECT_EQ(host.device().usage().registered_bytes, 0u);
  }
  EXPECT_EQ(host.fake().registration_count(), 0u);
}

TEST(CudaDevice, WorksOnWhenAKernelIsNotBuiltForIt) {
  for (const int native : {98, 200, 209, 222}) {
    FakeCudaBed host({.launch_error = native});
    const auto stream = stream_of(host.device());
    const DeviceBuffer buffer = host.device().allocate(100).value();
    const DeviceSpan span = buffer.span();
    const Status status = stream->launch("twice_plus", {}, std::span(&span, 1));
    EXPECT_EQ(status.code(), ErrorCode::kFailedPrecondition) << native;
    EXPECT_THAT(status.to_string(), HasSubstr("kernel 'twice_plus'"));
    EXPECT_EQ(host.device().fault(), DeviceFault::kNone);
    auto source = pattern(100);
    ASSERT_TRUE(stream->copy_in(span, source).ok());
    stream->reached().wait();
  }
}

TEST(CudaDevice, SaysWhenItHasNoMoreStreamsAndWorksOn) {
  FakeCudaBed host({.stream_error = 2});
  const auto refused = host.device().create_stream();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_TRUE(host.device().allocate(100).has_value());
  EXPECT_EQ(host.fake().live_count(), 0u);
}

TEST(CudaDevice, FindsKernelsThatTheProgramHas) {
  FakeCudaBed host((FakeCudaFaults()));
  const auto stream = stream_of(host.device());
  const DeviceBuffer buffer = host.device().allocate(4).value();
  const DeviceSpan span = buffer.span();
  std::vector<std::byte> bytes(4, std::byte{20});
  const std::byte addend{2};
  ASSERT_TRUE(stream->copy_in(span, bytes).ok());
  ASSERT_TRUE(
      stream->launch("cuda_device_test.twice_plus", std::span(&addend, 1), std::span(&span, 1))
          .ok());
  ASSERT_TRUE(stream->copy_out(bytes, span).ok());
  host.wait(stream->reached());
  EXPECT_EQ(bytes, std::vector<std::byte>(4, std::byte{42}));
  EXPECT_EQ(CudaKernel::find("cuda_device_test.nobody's"), nullptr);
  EXPECT_THAT(stream->launch("nobody's", {}, {}).to_string(), HasSubstr(".cu file"));
}

// An error that no row of the table has, of work: it must not be taken for one of the call.
TEST(CudaDevice, DoesNothingMoreAfterAnyErrorOfItsWork) {
  FakeCudaBed host({.work_error = 7777, .work_at = 1});
  const auto stream = stream_of(host.device());
  const DeviceBuffer buffer = host.device().allocate(100).value();
  auto source = pattern(100);
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  const Completion completion = stream->reached();
  host.wait(completion);
  EXPECT_EQ(completion.status().code(), ErrorCode::kDataLoss);
  EXPECT_THAT(completion.status().to_string(), HasSubstr("[cuda 7777]"));
  EXPECT_THAT(completion.status().to_string(), HasSubstr("NVIDIA Fake 1 (GPU-0)"));
  EXPECT_EQ(host.device().fault(), DeviceFault::kSticky);
}

TEST(CudaDevice, KeepsTheFirstFaultThatItHad) {
  FakeCudaBed host({.work_error = 719, .work_at = 1});
  const auto stream = stream_of(host.device());
  const DeviceBuffer buffer = host.device().allocate(100).value();
  auto source = pattern(100);
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  host.wait(stream->reached());
  host.fake().fail(214);
  EXPECT_THAT(host.device().allocate(1).error().to_string(), HasSubstr("[cuda 719]"));
  host.device().abandon();
  EXPECT_EQ(host.device().fault(), DeviceFault::kSticky);
}

TEST(CudaDeviceDeathTest, EndsTheProcessWhenItIsGivenUp) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  FakeCudaBed host({.work_waits = true});
  EXPECT_EXIT(host.device().abandon(),
              ::testing::ExitedWithCode(error_info(ErrorCode::kDeadlineExceeded).exit_status),
              "NVIDIA Fake 1 \\(GPU-0\\) was abandoned.*this process ends");
}

}  // namespace
}  // namespace pinion
