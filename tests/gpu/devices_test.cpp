#include <pinion/gpu/devices.hpp>

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using ::testing::HasSubstr;

TEST(Devices, AnswerInWordsThatThisBuildCarriesNoBackEnd) {
  const Result<std::vector<std::unique_ptr<IDevice>>> devices = open_devices({});
  ASSERT_FALSE(devices.has_value());
  EXPECT_EQ(devices.error().code(), ErrorCode::kUnimplemented);
  EXPECT_THAT(std::string(devices.error().message()), HasSubstr("no GPU back-end"));
}

TEST(Devices, RefuseAMemoryShareOutsideItsRange) {
  for (const double share : {0.0, -0.5, 1.01, std::numeric_limits<double>::quiet_NaN()}) {
    const Result<std::vector<std::unique_ptr<IDevice>>> devices =
        open_devices({.memory_share = share});
    ASSERT_FALSE(devices.has_value());
    EXPECT_EQ(devices.error().code(), ErrorCode::kInvalidArgument) << share;
    EXPECT_THAT(std::string(devices.error().message()), HasSubstr("memory_share is "));
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

}  // namespace
}  // namespace pinion
