#include "launch/launched_process.hpp"

#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/environment_guard.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;

TEST(LaunchedProcess, DescribesThisOne) {
  const LaunchedProcess self = describe_this_process();
  EXPECT_EQ(self.pid, getpid());
  EXPECT_EQ(self.launcher, getppid());  // Nobody above us is of a launch.
  EXPECT_NE(self.host_name, "");
  EXPECT_THAT(self.host, HasSubstr(self.host_name));
  cpu_set_t ours;
  ASSERT_EQ(sched_getaffinity(0, sizeof(ours), &ours), 0);
  EXPECT_EQ(self.cpus.size(), static_cast<std::size_t>(CPU_COUNT(&ours)));
}

TEST(LaunchedProcess, IsOnAnotherHostWhereItIsToldSo) {
  EnvironmentGuard environment;
  const LaunchedProcess undivided = describe_this_process();
  environment.set("PINION_HOST_ID", "1");
  const LaunchedProcess one = describe_this_process();
  environment.set("PINION_HOST_ID", "2");
  const LaunchedProcess two = describe_this_process();
  EXPECT_NE(one.host, two.host);
  EXPECT_NE(one.host, undivided.host);
  EXPECT_EQ(one.host_name, undivided.host_name + ".1");
}

TEST(LaunchedProcess, ArrivesAsItWasSent) {
  const LaunchedProcess sent{
      .host = "\xff", .host_name = "a", .pid = 5, .launcher = 4, .cpus = {0, 1023, 5000}};
  const Result<LaunchedProcess> arrived = decode_launched_process(encode_launched_process(sent));
  ASSERT_TRUE(arrived.has_value()) << arrived.error().to_string();
  EXPECT_EQ(*arrived, sent);
  EXPECT_FALSE(decode_launched_process("").has_value());
  EXPECT_FALSE(decode_launched_process("words").has_value());
}

TEST(LaunchedProcess, IsKnownByWhatPmixSetsAndByNoParentInItsJob) {
  EnvironmentGuard environment;
  ASSERT_EQ(getenv("PMIX_RANK"), nullptr);
  EXPECT_FALSE(is_launched_by_other());
  environment.set("PMIX_NAMESPACE", "job");
  EXPECT_FALSE(is_launched_by_other());
  environment.set("PMIX_RANK", "0");
  EXPECT_TRUE(is_launched_by_other());
  environment.set("PINION_JOINED_LAUNCH", "job");
  EXPECT_FALSE(is_launched_by_other());
  environment.set("PINION_JOINED_LAUNCH", "that of a rank that has started this launch");
  EXPECT_TRUE(is_launched_by_other());
  unsetenv("PMIX_NAMESPACE");
  unsetenv("PMIX_RANK");
}

TEST(LaunchedProcess, IsWarnedOfWhereItIsAloneAmongOthers) {
  EnvironmentGuard environment;
  const auto warning = [](const char* rank, const char* count) {
    ::setenv("PMI_RANK", rank, 1);
    ::setenv("PMI_SIZE", count, 1);
    const std::string words = warning_of_lone_processes();
    ::unsetenv("PMI_RANK");
    ::unsetenv("PMI_SIZE");
    return words;
  };
  EXPECT_EQ(warning_of_lone_processes(), "");
  EXPECT_THAT(warning("0", "4"), HasSubstr("each of the 4 processes of this launch is a job"));
  EXPECT_EQ(warning("1", "4"), "");
  EXPECT_EQ(warning("0", "1"), "");
  environment.set("PINION_RANK", "0");  // Its variables are those of pinion run.
  EXPECT_EQ(warning("0", "4"), "");
}

}  // namespace
}  // namespace pinion
