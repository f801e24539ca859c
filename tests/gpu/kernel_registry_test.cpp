#include <pinion/gpu/kernel_registry.hpp>

#include <gtest/gtest.h>

namespace pinion {
namespace {

Status nothing(const KernelCall&) {
  return {};
}

TEST(KernelRegistry, FindsWhatWasAddedByItsName) {
  KernelRegistry kernels;
  EXPECT_EQ(kernels.find("sum"), nullptr);
  ASSERT_TRUE(kernels.add("sum", {.body = nothing, .cost = {.bytes_per_second = 7}}).ok());
  ASSERT_NE(kernels.find("sum"), nullptr);
  EXPECT_EQ(kernels.find("sum")->cost.bytes_per_second, 7u);
  EXPECT_EQ(kernels.find("su"), nullptr);
}

TEST(KernelRegistry, RefusesNoNameNoBodyAndANameThatIsTaken) {
  KernelRegistry kernels;
  EXPECT_EQ(kernels.add("", {.body = nothing}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(kernels.add("sum", {}).code(), ErrorCode::kInvalidArgument);
  ASSERT_TRUE(kernels.add("sum", {.body = nothing}).ok());
  EXPECT_EQ(kernels.add("sum", {.body = nothing}).code(), ErrorCode::kAlreadyExists);
}

}  // namespace
}  // namespace pinion
