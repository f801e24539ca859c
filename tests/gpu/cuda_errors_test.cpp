#include "cuda/cuda_errors.hpp"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/device.hpp>

#include "fake_cuda.hpp"

namespace pinion {
namespace {

using ::testing::HasSubstr;

DeviceFault fault_of(int native) {
  const testing::FakeCuda runtime(testing::two_fake_devices());
  return device_fault(cuda_status(runtime, native, "a call").code());
}

TEST(CudaErrors, EndTheDeviceWhereCudaSaysThatTheProcessMustEnd) {
  for (const int native : {226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911}) {
    EXPECT_EQ(fault_of(native), DeviceFault::kSticky) << native;
  }
}

TEST(CudaErrors, SayWhichDevicesAreGone) {
  for (const int native : {101, 214, 220}) {
    EXPECT_EQ(fault_of(native), DeviceFault::kLost) << native;
  }
}

TEST(CudaErrors, AreTriedAgainOnlyForWantOfMemory) {
  EXPECT_EQ(fault_of(2), DeviceFault::kOutOfMemory);
  for (const CudaErrorRow& row : cuda_error_table()) {
    EXPECT_EQ(fault_of(row.native) == DeviceFault::kOutOfMemory, row.native == 2) << row.native;
  }
}

// A kernel for another architecture or a younger driver, a device that another process has, a
// machine without a driver or with a broken one.
TEST(CudaErrors, OfTheConfigurationLetTheDeviceWorkOn) {
  for (const int native : {209, 222, 98, 200, 218, 221, 223, 46, 34, 35, 100, 802, 803, 804, 712}) {
    EXPECT_EQ(fault_of(native), DeviceFault::kConfiguration) << native;
  }
}

TEST(CudaErrors, SayWhatWasTriedWhatCudaSaysAndWhatToDo) {
  const testing::FakeCuda runtime(testing::two_fake_devices());
  const std::string text = cuda_status(runtime, 222, "kernel 'sum'").to_string();
  EXPECT_THAT(text, HasSubstr("kernel 'sum': fake error 222; build the kernel for the device's "));
  EXPECT_THAT(text, HasSubstr("[cuda 222]"));
  EXPECT_THAT(cuda_status(runtime, 46, "opening").to_string(), HasSubstr("another process has"));
  EXPECT_THAT(cuda_status(runtime, 803, "opening").to_string(), HasSubstr("must be mended"));
}

TEST(CudaErrors, OfUnknownNumbersKeepThem) {
  const testing::FakeCuda runtime(testing::two_fake_devices());
  const Status status = cuda_status(runtime, 12'345, "a call");
  EXPECT_EQ(status.code(), ErrorCode::kInternal);
  EXPECT_THAT(status.to_string(), HasSubstr("[cuda 12345]"));
  EXPECT_TRUE(cuda_status(runtime, 0, "a call").ok());
}

}  // namespace
}  // namespace pinion
