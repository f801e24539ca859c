#include "hosts/host_list.hpp"

#include <unistd.h>

#include <array>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using ::testing::HasSubstr;

LaunchSpec on_two_hosts() {
  LaunchSpec spec;
  spec.command = {"program"};
  spec.rank_count = 6;
  spec.hosts = {{"localhost", 2}, {"b", 4}};
  return spec;
}

TEST(ThisHost, GoesByItsNameAndItsAddresses) {
  std::array<char, 256> name = {};
  ASSERT_EQ(gethostname(name.data(), name.size() - 1), 0);
  EXPECT_TRUE(is_this_host("localhost"));
  EXPECT_TRUE(is_this_host("127.0.0.1"));
  EXPECT_TRUE(is_this_host(name.data()));
  EXPECT_FALSE(is_this_host(std::string(name.data()) + "-not"));
  EXPECT_FALSE(is_this_host("233.252.0.1"));
  EXPECT_FALSE(is_this_host(""));
}

TEST(OwnAddress, IsTheOneInTheNetwork) {
  EXPECT_EQ(*own_address_in("127.0.0.0/8"), "127.0.0.1");
  EXPECT_EQ(*own_address_in("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(*own_address_in(""), "");
  EXPECT_EQ(own_address_in("233.252.0.0/24").error().code(), ErrorCode::kNotFound);
  for (const char* const network : {"eth0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/x", "/8"}) {
    EXPECT_EQ(own_address_in(network).error().code(), ErrorCode::kInvalidArgument) << network;
  }
}

TEST(Hosts, ThatCanBeUsedAreNotRefused) {
  EXPECT_TRUE(check_hosts(on_two_hosts()).ok());
  EXPECT_TRUE(check_hosts({}).ok());
  LaunchSpec alone;
  alone.hosts = {{"localhost", 2}};
  alone.rank_count = 2;
  alone.journal_directory = "journal";
  EXPECT_TRUE(check_hosts(alone).ok());
}

TEST(Hosts, BeginWithThisMachine) {
  LaunchSpec spec = on_two_hosts();
  spec.hosts[0].name = "elsewhere.invalid";
  const Status checked = check_hosts(spec);
  EXPECT_EQ(checked.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(checked.to_string(), HasSubstr("the first host is elsewhere.invalid"));
}

TEST(Hosts, HaveNamesThatNoRemoteShellTakesForAnOption) {
  for (const char* const name : {"-oProxyCommand=x", "", "a b", "a\n"}) {
    LaunchSpec spec = on_two_hosts();
    spec.hosts[1].name = name;
    EXPECT_EQ(check_hosts(spec).code(), ErrorCode::kInvalidArgument) << name;
  }
}

TEST(Hosts, HaveTheTerminalOfADebuggerOnTheFirst) {
  LaunchSpec spec = on_two_hosts();
  spec.debug_rank = spec.hosts[0].rank_count - 1;
  EXPECT_TRUE(check_hosts(spec).ok());
  spec.debug_rank = spec.hosts[0].rank_count;
  const Status checked = check_hosts(spec);
  EXPECT_EQ(checked.code(), ErrorCode::kUnimplemented);
  EXPECT_THAT(checked.to_string(), HasSubstr("--debug-rank"));
}

}  // namespace
}  // namespace pinion
