#include "hosts/remote_shell.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hosts/remote_shells.hpp"

namespace pinion {
namespace {

using ::testing::ElementsAre;

struct Pipe {
  UniqueFd reader;
  UniqueFd writer;

  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    reader = UniqueFd(ends[0]);
    writer = UniqueFd(ends[1]);
  }

  [[nodiscard]] std::string read_to_end() {
    writer = UniqueFd();
    std::string text;
    char bytes[4096];
    for (ssize_t count = 1; count > 0;) {
      count = read(reader.get(), bytes, sizeof(bytes));
      text.append(bytes, count > 0 ? static_cast<std::size_t>(count) : 0);
    }
    return text;
  }
};

int wait_for(RemoteShell& shell) {
  int wait_status = -1;
  pollfd watched{shell.watch_descriptor(), POLLIN, 0};
  EXPECT_EQ(poll(&watched, 1, 60'000), 1);
  EXPECT_TRUE(shell.has_ended(wait_status));
  return wait_status;
}

TEST(RemoteCommand, IsTheShellTheHostAndTheAgent) {
  EXPECT_THAT(
      *remote_command("ssh -o BatchMode=yes", "b", "/usr/libexec/pinion-agent"),
      ElementsAre("ssh", "-o", "BatchMode=yes", "b", "/usr/libexec/pinion-agent", "--host-of-job"));
}

TEST(RemoteCommand, RefusesWhatAShellWouldTakeApart) {
  for (const char* const path : {"/a b/agent", "/a;b", "/$HOME/agent", "/a'b"}) {
    EXPECT_EQ(remote_command("ssh", "b", path).error().code(), ErrorCode::kInvalidArgument) << path;
  }
  EXPECT_EQ(remote_command("  ", "b", "/agent").error().code(), ErrorCode::kInvalidArgument);
}

TEST(RemoteShell, GivesItsInputAndThenLeavesItOpen) {
  Pipe output;
  const std::string input(300'000, 'x');  // More than a pipe holds.
  Result<RemoteShell> shell = RemoteShell::start(
      {"sh", "-c", "head -c 300000 | wc -c; read -r line || echo end"}, input, output.writer.get());
  ASSERT_TRUE(shell.has_value());
  while (shell->input_descriptor() >= 0) {
    pollfd watched{shell->input_descriptor(), POLLOUT, 0};
    ASSERT_EQ(poll(&watched, 1, 60'000), 1);
    shell->write_input();
  }
  char bytes[8] = {};
  ASSERT_EQ(read(output.reader.get(), bytes, 7), 7);
  EXPECT_EQ(std::string(bytes), "300000\n");
  {
    const RemoteShell ended = *std::move(shell);  // Closes the input, and kills.
  }
  const std::string rest = output.read_to_end();
  EXPECT_TRUE(rest.empty() || rest == "end\n") << rest;
}

TEST(RemoteShell, TellsHowItHasEnded) {
  Result<RemoteShell> shell = RemoteShell::start({"sh", "-c", "exit 7"}, "unread", STDERR_FILENO);
  ASSERT_TRUE(shell.has_value());
  const int wait_status = wait_for(*shell);
  EXPECT_TRUE(WIFEXITED(wait_status));
  EXPECT_EQ(WEXITSTATUS(wait_status), 7);
  int again = 0;
  EXPECT_FALSE(shell->has_ended(again));
}

TEST(RemoteShell, IsKilledWithWhatItHasStarted) {
  Pipe output;
  Result<RemoteShell> shell =
      RemoteShell::start({"sh", "-c", "sleep 600 & sleep 600"}, "", output.writer.get());
  ASSERT_TRUE(shell.has_value());
  shell->kill();
  EXPECT_TRUE(WIFSIGNALED(wait_for(*shell)));
  EXPECT_EQ(output.read_to_end(), "");  // Nobody has the pipe any more.
}

TEST(RemoteShell, IsLeftToItselfWhenItIsLetGo) {
  Pipe output;
  Result<RemoteShell> shell =
      RemoteShell::start({"sh", "-c", "cat; echo over"}, "", output.writer.get());
  ASSERT_TRUE(shell.has_value());
  shell->let_go();
  EXPECT_EQ(shell->pid(), -1);
  EXPECT_EQ(output.read_to_end(), "over\n");  // Its input is at its end, and nobody has killed it.
}

TEST(RemoteShells, ReachEveryHostOnce) {
  for (const std::uint32_t host_count : {1u, 2u, 5u, 16u, 17u, 300u}) {
    for (const std::uint32_t width : {1u, 2u, 3u, 16u, ~0u}) {
      std::vector<std::uint32_t> hosts;
      for (std::uint32_t host = 0; host < host_count; ++host) {
        for (const std::uint32_t started : hosts_started_by(host, host_count, width)) {
          EXPECT_EQ(starter_of(started, width), host);
          EXPECT_GT(started, host);
          hosts.push_back(started);
        }
      }
      std::vector<std::uint32_t> all(host_count - 1);
      std::iota(all.begin(), all.end(), 1u);
      EXPECT_EQ(hosts, all) << "where each starts " << width;
    }
  }
}

TEST(RemoteShell, ThatDoesNotExistIsNotFound) {
  const Result<RemoteShell> shell = RemoteShell::start({"pinion-no-such-shell"}, "", STDERR_FILENO);
  ASSERT_FALSE(shell.has_value());
  EXPECT_EQ(shell.error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace pinion
