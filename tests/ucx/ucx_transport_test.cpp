#include <pinion/ucx/ucx_transport.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

#if PINION_TEST_HAS_UCX

TEST(UcxTransport, ListensWhereItIsTold) {
  const Result<std::unique_ptr<ITransport>> transport =
      create_ucx_transport({.listen_address = "127.0.0.1"});
  ASSERT_TRUE(transport.has_value()) << transport.error().to_string();
  EXPECT_THAT((*transport)->address(), StartsWith("ucx:127.0.0.1:"));
}

TEST(UcxTransport, ListensAtANetworkUnlessTold) {
  const Result<std::unique_ptr<ITransport>> transport = create_ucx_transport({});
  ASSERT_TRUE(transport.has_value()) << transport.error().to_string();
  EXPECT_THAT((*transport)->address(), StartsWith("ucx:"));
}

TEST(UcxTransport, ListensAtTheDeviceThatItIsGiven) {
  const Result<std::unique_ptr<ITransport>> transport = create_ucx_transport({.devices = {"lo"}});
  ASSERT_TRUE(transport.has_value()) << transport.error().to_string();
  EXPECT_THAT((*transport)->address(), StartsWith("ucx:127.0.0.1:"));
}

TEST(UcxTransport, RefusesPlacesThatThisHostDoesNotHave) {
  const Result<std::unique_ptr<ITransport>> nonsense =
      create_ucx_transport({.listen_address = "nonsense"});
  ASSERT_FALSE(nonsense.has_value());
  EXPECT_EQ(nonsense.error().code(), ErrorCode::kInvalidArgument);
  const Result<std::unique_ptr<ITransport>> elsewhere =
      create_ucx_transport({.listen_address = "192.0.2.7"});
  ASSERT_FALSE(elsewhere.has_value());
  EXPECT_EQ(elsewhere.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(elsewhere.error().message()), HasSubstr("192.0.2.7"));
}

TEST(UcxTransport, SaysWhichTransportsUcxDoesNotHave) {
  const Result<std::unique_ptr<ITransport>> transport =
      create_ucx_transport({.listen_address = "127.0.0.1", .transports = {"carrier_pigeon"}});
  ASSERT_FALSE(transport.has_value());
  EXPECT_THAT(std::string(transport.error().message()), HasSubstr("carrier_pigeon"));
}

TEST(UcxTransport, SaysWhichDeviceUcxDoesNotFind) {
  const Result<std::unique_ptr<ITransport>> transport =
      create_ucx_transport({.listen_address = "127.0.0.1", .devices = {"lo", "absent0"}});
  ASSERT_FALSE(transport.has_value());
  EXPECT_THAT(std::string(transport.error().message()), HasSubstr("'absent0'"));
}

#else

TEST(UcxTransport, AnswersInWordsThatThisBuildCarriesNoUcx) {
  const Result<std::unique_ptr<ITransport>> transport = create_ucx_transport({});
  ASSERT_FALSE(transport.has_value());
  EXPECT_EQ(transport.error().code(), ErrorCode::kUnimplemented);
  EXPECT_THAT(std::string(transport.error().message()), HasSubstr("no UCX transport"));
}

#endif

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
