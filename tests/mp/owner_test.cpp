// The owner of blobs that others need, stopped for as long as they work; and strangers who would
// like to have them.

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uid_t kNobody = 65'534;

// The parameter is the rank that is stopped: rank 0 also plans the steps.
class StoppedOwner : public JobTest, public testing::WithParamInterface<std::uint64_t> {
 protected:
  [[nodiscard]] std::vector<std::string> program(const std::string& body_ms) const {
    return {DISTURBED_PROGRAM, "words", body_ms, path(""), path("text")};
  }

  void write_text() const {
    std::string text;
    for (int line = 0; line < 20'000; ++line) {
      text += "line " + std::to_string(line % 97) + " of the text\n";
    }
    write_file(path("text"), text);
  }

  [[nodiscard]] bool has_partials_of(std::uint64_t rank) const {
    const std::vector<json> log = grant_log();
    return std::any_of(log.begin(), log.end(), [rank](const json& line) {
      return line.at("event") == "accepted" && line.at("rank") == rank && line.at("stage") == "map";
    });
  }
};

TEST_P(StoppedOwner, OfPartialsHoldsNobodyUp) {
  write_text();
  write_file(path("gate"), "open");
  const CommandResult undisturbed = run(program("0"));
  ASSERT_EQ(undisturbed.status, 0) << undisturbed.errors;
  std::filesystem::remove(path("gate"));

  std::vector<std::string> options = grant_log_option();
  options.insert(options.end(), {"--set", "lease-seconds=0.5", "--set", "batch-shards=2"});
  RunningCommand running(folder_, on_ranks(3, program("30"), options), environment());
  ASSERT_TRUE(eventually([this] { return has_partials_of(GetParam()); })) << running.errors();
  const pid_t owner = pid_of(grant_log(), GetParam(), 1);
  kill(owner, SIGSTOP);
  ASSERT_TRUE(eventually([owner] { return is_stopped(owner); }));
  write_file(path("gate"), "open");
  EXPECT_TRUE(eventually([&] { return running.output() == undisturbed.output; }))
      << running.errors();
  EXPECT_TRUE(is_stopped(owner));
  EXPECT_EQ(running.wait_for(std::chrono::seconds(0)), std::nullopt) << "it has not ended yet";
  kill(owner, SIGCONT);
  EXPECT_EQ(running.wait_for(std::chrono::seconds(60)), 0) << running.errors();
  EXPECT_EQ(running.output(), undisturbed.output);
  EXPECT_THAT(fence_violations(grant_log()), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Rank, StoppedOwner, testing::Values(0u, 1u));

// Whether the calling process may not have any descriptor of another one, by either way.
bool is_kept_from_descriptors_of(pid_t pid) {
  const int watch = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  for (int descriptor = 0; descriptor < 256; ++descriptor) {
    const std::string link = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(descriptor);
    if (open(link.c_str(), O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES ||
        syscall(SYS_pidfd_getfd, watch, descriptor, 0) >= 0 || errno != EPERM) {
      return false;
    }
  }
  return true;
}

// Of the sockets of a process, by their inodes.
std::set<std::uint64_t> sockets_of(pid_t pid) {
  constexpr std::string_view kPrefix = "socket:[";
  std::set<std::uint64_t> inodes;
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::error_code gone;  // One that was closed meanwhile.
    const std::string target = std::filesystem::read_symlink(entry.path(), gone);
    if (target.starts_with(kPrefix)) {
      inodes.insert(std::stoull(target.substr(kPrefix.size())));
    }
  }
  return inodes;
}

// Whether nobody can connect to a Unix socket: it does not listen, and has no name.
std::map<std::uint64_t, bool> closed_unix_sockets() {
  constexpr unsigned long kListens = 0x10000;
  std::map<std::uint64_t, bool> closed;
  std::ifstream table("/proc/net/unix");
  std::string line;
  std::getline(table, line);
  while (std::getline(table, line)) {
    std::istringstream words(line);
    std::string address;
    std::string references;
    std::string protocol;
    std::string flags;
    std::string type;
    std::string state;
    std::uint64_t inode = 0;
    std::string name;
    words >> address >> references >> protocol >> flags >> type >> state >> inode >> name;
    closed[inode] = (std::stoul(flags, nullptr, 16) & kListens) == 0 && name.empty();
  }
  return closed;
}

class OtherJob : public JobTest {};

TEST_F(OtherJob, FindsNoDoorToAnAgentAndItsRanks) {
  RunningCommand running(folder_, on_ranks(2, {GATED_PROGRAM, path("")}, grant_log_option()),
                         environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const pid_t rank = pid_of(grant_log(), 0, 1);
  const std::set<std::uint64_t> of_agent = sockets_of(parent_of(rank));
  const std::set<std::uint64_t> of_rank = sockets_of(rank);
  EXPECT_GE(of_agent.size(), 2u);
  EXPECT_GE(of_rank.size(), 1u);
  const std::map<std::uint64_t, bool> closed = closed_unix_sockets();
  for (const std::set<std::uint64_t>* const sockets : {&of_agent, &of_rank}) {
    for (const std::uint64_t inode : *sockets) {
      const auto found = closed.find(inode);
      EXPECT_TRUE(found != closed.end() && found->second) << inode;
    }
  }
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(std::chrono::seconds(60)), 0) << running.errors();
}

class ForeignUser : public JobTest {
 protected:
  void SetUp() override {
    if (geteuid() != 0) {
      GTEST_SKIP() << "only root can become another user";
    }
  }
};

TEST_F(ForeignUser, HasNoWayToTheMemoryOfAJob) {
  RunningCommand running(folder_, on_ranks(2, {GATED_PROGRAM, path("")}, grant_log_option()),
                         environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const pid_t rank = pid_of(grant_log(), 0, 1);
  const pid_t agent = parent_of(rank);
  const pid_t stranger = fork();
  ASSERT_GE(stranger, 0);
  if (stranger == 0) {
    const bool became_nobody = setgid(kNobody) == 0 && setuid(kNobody) == 0;
    _exit(!became_nobody                                                            ? 2
          : is_kept_from_descriptors_of(agent) && is_kept_from_descriptors_of(rank) ? 0
                                                                                    : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(stranger, &status, 0), stranger);
  EXPECT_EQ(status, 0);

  const CommandResult shown =
      run({"setpriv", "--reuid=" + std::to_string(kNobody), "--regid=" + std::to_string(kNobody),
           "--clear-groups", PINION_COMMAND, "shm", std::to_string(running.pid())});
  EXPECT_EQ(shown.status, 77) << shown.output;
  EXPECT_THAT(shown.errors, HasSubstr("PERMISSION_DENIED"));
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(std::chrono::seconds(60)), 0) << running.errors();
}

}  // namespace
}  // namespace pinion
