#include <pinion/core/device.hpp>

#include <memory>
#include <set>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

namespace pinion {
namespace {

constexpr DeviceFault kFaults[] = {DeviceFault::kNone,          DeviceFault::kOutOfMemory,
                                   DeviceFault::kConfiguration, DeviceFault::kSticky,
                                   DeviceFault::kLost,          DeviceFault::kHang};

TEST(DeviceFault, IsKnownFromTheCodeOfEveryError) {
  for (const ErrorInfo& info : error_table()) {
    const DeviceFault fault = device_fault(info.code);
    EXPECT_EQ(fault == DeviceFault::kNone, info.code == ErrorCode::kOk) << info.name;
  }
  EXPECT_EQ(device_fault(ErrorCode::kResourceExhausted), DeviceFault::kOutOfMemory);
  EXPECT_EQ(device_fault(ErrorCode::kDataLoss), DeviceFault::kSticky);
  EXPECT_EQ(device_fault(ErrorCode::kUnavailable), DeviceFault::kLost);
  EXPECT_EQ(device_fault(ErrorCode::kDeadlineExceeded), DeviceFault::kHang);
  for (const ErrorCode code : {ErrorCode::kNotFound, ErrorCode::kFailedPrecondition,
                               ErrorCode::kOutOfRange, ErrorCode::kInvalidArgument}) {
    EXPECT_EQ(device_fault(code), DeviceFault::kConfiguration);
  }
}

TEST(DeviceFault, EndsTheDeviceOrLeavesItUsable) {
  EXPECT_FALSE(ends_device(DeviceFault::kNone));
  EXPECT_FALSE(ends_device(DeviceFault::kOutOfMemory));
  EXPECT_FALSE(ends_device(DeviceFault::kConfiguration));
  EXPECT_TRUE(ends_device(DeviceFault::kSticky));
  EXPECT_TRUE(ends_device(DeviceFault::kLost));
  EXPECT_TRUE(ends_device(DeviceFault::kHang));
}

TEST(DeviceFault, HasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (const DeviceFault fault : kFaults) {
    EXPECT_TRUE(names.insert(to_string(fault)).second) << to_string(fault);
  }
}

TEST(DeviceBuffer, GivesItsMemoryBackWhenItEnds) {
  const auto memory = std::make_shared<int>(0);
  {
    DeviceBuffer buffer(4096, 64, memory);
    EXPECT_EQ(memory.use_count(), 2);
    const DeviceBuffer moved = std::move(buffer);
    EXPECT_EQ(moved.address(), 4096u);
    EXPECT_EQ(moved.size_bytes(), 64u);
    EXPECT_EQ(memory.use_count(), 2);
  }
  EXPECT_EQ(memory.use_count(), 1);
}

TEST(DeviceSpan, NamesAPartByItsAddress) {
  const DeviceBuffer buffer(4096, 64, nullptr);
  const DeviceSpan part = buffer.span().part(16, 8);
  EXPECT_EQ(part.address, 4112u);
  EXPECT_EQ(part.size_bytes, 8u);
}

TEST(HostRegistration, EndsWithItsObject) {
  const auto held = std::make_shared<int>(0);
  {
    HostRegistration registration(held);
    const HostRegistration moved = std::move(registration);
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace pinion
