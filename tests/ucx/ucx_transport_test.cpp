#include <pinion/ucx/ucx_transport.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using ::testing::HasSubstr;

TEST(UcxTransport, AnswersInWordsThatThisBuildCarriesNoUcx) {
  const Result<std::unique_ptr<ITransport>> transport = create_ucx_transport({});
  ASSERT_FALSE(transport.has_value());
  EXPECT_EQ(transport.error().code(), ErrorCode::kUnimplemented);
  EXPECT_THAT(std::string(transport.error().message()), HasSubstr("no UCX transport"));
}

TEST(UcxTransport, RefusesAKeepaliveThatIsNotAboveZero) {
  for (const Duration keepalive : {Duration::zero(), Duration(-1)}) {
    const Result<std::unique_ptr<ITransport>> transport =
        create_ucx_transport({.keepalive = keepalive});
    ASSERT_FALSE(transport.has_value());
    EXPECT_EQ(transport.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(std::string(transport.error().message()),
                HasSubstr("keepalive is " + std::to_string(keepalive.count()) + " ns"));
  }
}

}  // namespace
}  // namespace pinion
