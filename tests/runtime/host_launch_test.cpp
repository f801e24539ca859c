#include "hosts/host_launch.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/runtime/version.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "runtime/environment_guard.hpp"
#include "settings.hpp"

namespace pinion {
namespace {

using ::testing::HasSubstr;

HostLaunch some_launch() {
  HostLaunch launch;
  launch.spec.command = {"./program", std::string("\xff\0 x", 4)};
  launch.spec.rank_count = 5;
  launch.spec.hosts = {{"localhost", 2}, {"b", 3}};
  launch.host = 1;
  launch.job = 77;
  launch.epoch = 2;
  launch.token = "secret";
  launch.head_address = "10.0.0.1:4000";
  launch.remote_shell = "ssh -q";
  launch.start_width = 3;
  launch.start_directory = "/data";
  launch.environment = {"A=1", "B=\xfe"};
  return launch;
}

// What arrives when `text` is written to a pipe that stays open, as that of a living head does.
Result<HostLaunch> read_from_pipe(const std::string& text, bool head_lives = true) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  EXPECT_EQ(write(writer.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  if (!head_lives) {
    writer = UniqueFd();
  }
  return read_host_launch(reader.get());
}

TEST(HostLaunch, ArrivesWholeWhileItsPipeStaysOpen) {
  const HostLaunch sent = some_launch();
  const Result<HostLaunch> launch = read_from_pipe(encode_host_launch(sent) + "what comes later");
  ASSERT_TRUE(launch.has_value()) << launch.error().to_string();
  EXPECT_EQ(launch->spec.command, sent.spec.command);
  EXPECT_EQ(launch->spec.hosts, sent.spec.hosts);
  EXPECT_EQ(launch->host, 1u);
  EXPECT_EQ(launch->job, 77u);
  EXPECT_EQ(launch->epoch, 2u);
  EXPECT_EQ(launch->token, "secret");
  EXPECT_EQ(launch->head_address, sent.head_address);
  EXPECT_EQ(launch->remote_shell, "ssh -q");
  EXPECT_EQ(launch->start_width, 3u);
  EXPECT_EQ(launch->start_directory, "/data");
  EXPECT_EQ(launch->environment, sent.environment);
}

TEST(HostLaunch, ThatIsCutOffIsRefused) {
  const std::string text = encode_host_launch(some_launch());
  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, text.size() - 1}) {
    EXPECT_EQ(read_from_pipe(text.substr(0, size), false).error().code(), ErrorCode::kDataLoss);
  }
}

TEST(HostLaunch, OfAnotherVersionIsRefusedInWords) {
  std::string text = encode_host_launch(some_launch());
  const std::string ours(version());
  text.replace(text.find(ours), ours.size(), std::string(ours.size(), '8'));
  const Result<HostLaunch> launch = read_from_pipe(text);
  ASSERT_FALSE(launch.has_value());
  EXPECT_EQ(launch.error().code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(launch.error().to_string(), HasSubstr("of version " + std::string(ours.size(), '8')));
}

TEST(HostLaunch, ThatIsNoneIsRefused) {
  EXPECT_EQ(read_from_pipe(std::string(100, 'x')).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(read_from_pipe("pinion-launch 9999999999").error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(read_from_pipe("pinion-launch 0000000003abc").error().code(),
            ErrorCode::kInvalidArgument);
}

TEST(HostLaunch, IsForAHostOfTheJobThatIsNotItsFirst) {
  for (const std::uint32_t host : {0u, 2u}) {
    HostLaunch launch = some_launch();
    launch.host = host;
    EXPECT_EQ(read_from_pipe(encode_host_launch(launch)).error().code(),
              ErrorCode::kInvalidArgument);
  }
}

TEST(HostEnvironment, IsThatOfTheJobButForWhatIsOfTheHost) {
  EnvironmentGuard guard;
  guard.set("PINION_TEST_OLD", "gone");
  guard.set("SSH_CLIENT", "here");
  guard.set("HOSTNAME", "this");
  guard.set("PINION_TEST_NEW", "");
  std::vector<std::string> given = environment_to_give();
  EXPECT_THAT(given, testing::Contains("PINION_TEST_OLD=gone"));
  EXPECT_THAT(given, testing::Not(testing::Contains("SSH_CLIENT=here")));
  EXPECT_THAT(given, testing::Not(testing::Contains("HOSTNAME=this")));
  std::erase(given, "PINION_TEST_OLD=gone");
  given.push_back("PINION_TEST_NEW=a=b");
  given.push_back("HOSTNAME=that");
  take_environment(given);
  EXPECT_EQ(find_environment_value("PINION_TEST_OLD"), std::nullopt);
  EXPECT_EQ(environment_value("PINION_TEST_NEW"), "a=b");
  EXPECT_EQ(environment_value("SSH_CLIENT"), "here");
  EXPECT_EQ(environment_value("HOSTNAME"), "this");
}

}  // namespace
}  // namespace pinion
