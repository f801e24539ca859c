#include "hosts/host_messages.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/some_host_messages.hpp"

namespace pinion {
namespace {

using ::testing::HasSubstr;

TEST(HostMessages, ArriveAsTheyWereSent) {
  for (const HostMessage& message : some_host_messages()) {
    const Result<HostMessage> arrived = decode_host_message(encode(message));
    ASSERT_TRUE(arrived.has_value()) << "kind " << message.index();
    EXPECT_EQ(*arrived, message) << "kind " << message.index();
  }
}

TEST(HostMessages, AreOfEveryKindInTheseTests) {
  std::vector<bool> seen(std::variant_size_v<HostMessage>);
  for (const HostMessage& message : some_host_messages()) {
    seen[message.index()] = true;
  }
  EXPECT_THAT(seen, testing::Each(true));
}

TEST(HostMessages, AreRefusedWhenTheyAreCutOffOrTooLong) {
  for (const HostMessage& message : some_host_messages()) {
    std::vector<std::byte> bytes = encode(message);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(decode_host_message(std::span(bytes).first(size)).has_value())
          << "kind " << message.index() << ", " << size << " bytes";
    }
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(decode_host_message(bytes).has_value()) << "kind " << message.index();
  }
}

TEST(HostMessages, OfAnotherVersionAreRefusedInWords) {
  std::vector<std::byte> bytes = encode(LeaveJob{});
  bytes[4] = std::byte{9};
  const Result<HostMessage> arrived = decode_host_message(bytes);
  ASSERT_FALSE(arrived.has_value());
  EXPECT_EQ(arrived.error().code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(arrived.error().to_string(), HasSubstr("version 9"));
}

TEST(HostMessages, OfAnotherProtocolAreNone) {
  const std::vector<std::byte> bytes(64, std::byte{'G'});
  EXPECT_EQ(decode_host_message(bytes).error().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace pinion
