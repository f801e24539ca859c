#include <pinion/gpu/devices.hpp>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using ::testing::HasSubstr;

#if !PINION_HAS_CUDA
TEST(Devices, AnswerInWordsThatThisBuildCarriesNoBackEnd) {
  const Result<std::vector<std::unique_ptr<IDevice>>> devices = open_devices({});
  ASSERT_FALSE(devices.has_value());
  EXPECT_EQ(devices.error().code(), ErrorCode::kUnimplemented);
  EXPECT_THAT(std::string(devices.error().message()), HasSubstr("no GPU back-end"));
}
#endif

TEST(Devices, RefuseAMemoryShareOutsideItsRange) {
  for (const double share : {0.0, -0.5, 1.01, std::numeric_limits<double>::quiet_NaN()}) {
    const Result<std::vector<std::unique_ptr<IDevice>>> devices =
        open_devices({.memory_share = share});
    ASSERT_FALSE(devices.has_value());
    EXPECT_EQ(devices.error().code(), ErrorCode::kInvalidArgument) << share;
    EXPECT_THAT(std::string(devices.error().message()), HasSubstr("memory_share is "));
  }
}

}  // namespace
}  // namespace pinion
