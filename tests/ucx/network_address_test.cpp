#include "network_address.hpp"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using testing::HasSubstr;

TEST(NetworkAddress, ComesBackAsItWasWritten) {
  for (const std::string text : {"ucx:10.1.2.3:1", "ucx:127.0.0.1:65535", "ucx:[::1]:4711"}) {
    const Result<NetworkAddress> address = parse_address(text);
    ASSERT_TRUE(address.has_value()) << address.error().to_string();
    EXPECT_EQ(format_address(*address), text);
  }
}

TEST(NetworkAddress, IsRefusedWithWordsWhenItIsNone) {
  for (const std::string text : {"", "ucx", "ucx:", "10.1.2.3:1", "ucx:10.1.2.3", "ucx:10.1.2:1",
                                 "ucx:10.1.2.3:", "ucx:10.1.2.3:0", "ucx:10.1.2.3:65536",
                                 "ucx:10.1.2.3:1x", "ucx:host:1", "ucx::1", "tcp:10.1.2.3:1"}) {
    const Result<NetworkAddress> address = parse_address(text);
    ASSERT_FALSE(address.has_value()) << text;
    EXPECT_EQ(address.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(std::string(address.error().message()), HasSubstr("ucx:IP:PORT"));
  }
}

TEST(ListenPlace, IsTheDeviceOfTheAddressOrTheAddressOfTheDevice) {
  const Result<ListenPlace> by_address = find_listen_place("127.0.0.1", "");
  ASSERT_TRUE(by_address.has_value()) << by_address.error().to_string();
  EXPECT_EQ(by_address->device, "lo");
  const Result<ListenPlace> by_device = find_listen_place("", "lo");
  ASSERT_TRUE(by_device.has_value()) << by_device.error().to_string();
  EXPECT_EQ(format_address(by_device->address), "ucx:127.0.0.1:0");
  EXPECT_EQ(find_listen_place("", "absent0").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace pinion
