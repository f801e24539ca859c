#include "launch/launched_ranks.hpp"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/clock.hpp>

namespace pinion {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

// A process that does nothing until it is ended.
class IdleProcess {
 public:
  explicit IdleProcess(const std::function<void()>& before = {}) : pid_(fork()) {
    if (pid_ == 0) {
      if (before) {
        before();
      }
      while (true) {
        pause();
      }
    }
  }
  ~IdleProcess() {
    end();
    waitpid(pid_, nullptr, 0);
  }
  IdleProcess(const IdleProcess&) = delete;
  IdleProcess& operator=(const IdleProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

  // It stays to be waited for, as a process of a launcher does.
  void end() const {
    kill(pid_, SIGKILL);
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }

 private:
  pid_t pid_;
};

// One that connects to an agent when it is told to.
class ConnectingProcess {
 public:
  [[nodiscard]] pid_t pid() const { return process_->pid(); }
  void end() const { process_->end(); }

  // Returns when it has.
  void connect_to(const std::string& name) {
    ASSERT_EQ(write(pair_[0], name.data(), name.size()), static_cast<ssize_t>(name.size()));
    char done = 0;
    ASSERT_EQ(read(pair_[0], &done, 1), 1);
    ASSERT_EQ(done, 'y');
  }

  ConnectingProcess() {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair_.data()) != 0) {
      throw std::system_error(errno, std::generic_category(), "socketpair");
    }
    process_.emplace([this] {
      std::array<char, 256> name = {};
      const ssize_t size = read(pair_[1], name.data(), name.size());
      static Result<UniqueFd> socket =
          connect_to_agent({name.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))});
      static_cast<void>(write(pair_[1], socket ? "y" : "n", 1));
    });
  }
  ~ConnectingProcess() {
    close(pair_[0]);
    close(pair_[1]);
  }
  ConnectingProcess(const ConnectingProcess&) = delete;
  ConnectingProcess& operator=(const ConnectingProcess&) = delete;

 private:
  std::array<int, 2> pair_ = {-1, -1};
  std::optional<IdleProcess> process_;
};

std::vector<std::uint32_t> numbers_of(const std::vector<LaunchedRanks::Arrival>& arrivals) {
  std::vector<std::uint32_t> ranks;
  for (const LaunchedRanks::Arrival& arrival : arrivals) {
    ranks.push_back(arrival.rank);
  }
  return ranks;
}

class LaunchedRanksTest : public testing::Test {
 protected:
  [[nodiscard]] LaunchedRanks ranks_of(const std::vector<pid_t>& pids, pid_t launcher = 0) {
    std::vector<LaunchedProcess> processes;
    for (const pid_t pid : pids) {
      processes.push_back({.pid = pid, .launcher = launcher});
    }
    Result<LaunchedRanks> ranks = LaunchedRanks::create(processes, now_ + 1h);
    return std::move(ranks).value();
  }

  const Instant now_ = SystemClock().now();
};

TEST_F(LaunchedRanksTest, KnowsWhoConnects) {
  LaunchedRanks ranks = ranks_of({getpid()});
  EXPECT_THAT(ranks.take_arrivals(), IsEmpty());
  const Result<UniqueFd> socket = connect_to_agent(ranks.socket_name());
  ASSERT_TRUE(socket.has_value()) << socket.error().to_string();
  const std::vector<LaunchedRanks::Arrival> arrivals = ranks.take_arrivals();
  ASSERT_EQ(arrivals.size(), 1u);
  EXPECT_EQ(arrivals[0].rank, 0u);
  EXPECT_EQ(arrivals[0].process.pid, getpid());
  EXPECT_FALSE(has_ended(arrivals[0].process));
  EXPECT_FALSE(ranks.any_expected());
}

// Whoever is let in knows that no other rank is still on its way.
TEST_F(LaunchedRanksTest, ArriveTogether) {
  for (const bool comes : {true, false}) {
    ConnectingProcess other;
    LaunchedRanks ranks = ranks_of({other.pid(), getpid()});
    const Result<UniqueFd> socket = connect_to_agent(ranks.socket_name());
    ASSERT_TRUE(socket.has_value()) << socket.error().to_string();
    EXPECT_THAT(ranks.take_absent(now_), IsEmpty());
    EXPECT_THAT(ranks.take_arrivals(), IsEmpty());
    EXPECT_TRUE(ranks.any_expected());
    if (comes) {
      other.connect_to(ranks.socket_name());
      EXPECT_THAT(numbers_of(ranks.take_arrivals()), ElementsAre(0u, 1u));
    } else {
      // Neither one that ends, nor the end of the time, has those wait that are there.
      EXPECT_THAT(ranks.take_absent(now_ + 1h), ElementsAre(0u));
      EXPECT_THAT(numbers_of(ranks.take_arrivals()), ElementsAre(1u));
    }
    EXPECT_FALSE(ranks.any_expected());
  }
}

TEST_F(LaunchedRanksTest, ArriveThoughTheyEndBeforeTheOthersCome) {
  ConnectingProcess ends;
  LaunchedRanks ranks = ranks_of({ends.pid(), getpid()});
  ends.connect_to(ranks.socket_name());
  ends.end();
  EXPECT_THAT(ranks.take_absent(now_), IsEmpty());
  const Result<UniqueFd> socket = connect_to_agent(ranks.socket_name());
  ASSERT_TRUE(socket.has_value()) << socket.error().to_string();
  const std::vector<LaunchedRanks::Arrival> arrivals = ranks.take_arrivals();
  ASSERT_EQ(arrivals.size(), 2u);
  EXPECT_TRUE(has_ended(arrivals[0].process));
  EXPECT_FALSE(has_ended(arrivals[1].process));
}

TEST_F(LaunchedRanksTest, CutsStrangersOffAndThoseWhoComeTwice) {
  const IdleProcess other;
  LaunchedRanks ranks = ranks_of({other.pid()});
  const Result<UniqueFd> stranger = connect_to_agent(ranks.socket_name());
  ASSERT_TRUE(stranger.has_value());
  EXPECT_THAT(ranks.take_arrivals(), IsEmpty());
  char byte = 0;
  EXPECT_EQ(read(stranger->get(), &byte, 1), 0);

  LaunchedRanks own = ranks_of({getpid()});
  const Result<UniqueFd> first = connect_to_agent(own.socket_name());
  const Result<UniqueFd> second = connect_to_agent(own.socket_name());
  EXPECT_EQ(own.take_arrivals().size(), 1u);
  EXPECT_FALSE(own.any_expected());
  EXPECT_EQ(read(second->get(), &byte, 1), 0);
}

TEST_F(LaunchedRanksTest, ExpectsNobodyWhoseProcessHasEnded) {
  const IdleProcess stays;
  const IdleProcess ends;
  LaunchedRanks ranks = ranks_of({ends.pid(), stays.pid()});
  EXPECT_THAT(ranks.take_absent(now_), IsEmpty());
  ends.end();
  EXPECT_THAT(ranks.take_absent(now_), ElementsAre(0u));
  EXPECT_THAT(ranks.take_absent(now_), IsEmpty());
  EXPECT_THAT(ranks.take_absent(now_ + 1h), ElementsAre(1u));
  EXPECT_FALSE(ranks.any_expected());
}

TEST_F(LaunchedRanksTest, ExpectNobodyWhoWasGoneBefore) {
  pid_t gone = 0;
  {
    const IdleProcess process;
    gone = process.pid();
  }
  LaunchedRanks ranks = ranks_of({gone});
  EXPECT_THAT(ranks.take_absent(now_), ElementsAre(0u));
}

TEST_F(LaunchedRanksTest, NoticeTheEndOfTheirLauncherOnce) {
  const IdleProcess launcher;
  LaunchedRanks ranks = ranks_of({getpid(), getpid()}, launcher.pid());
  EXPECT_FALSE(ranks.launcher_has_ended());
  launcher.end();
  EXPECT_TRUE(ranks.launcher_has_ended());
  EXPECT_FALSE(ranks.launcher_has_ended());
}

TEST_F(LaunchedRanksTest, AreKilledWhileTheyAreExpected) {
  const IdleProcess process;
  const LaunchedRanks ranks = ranks_of({process.pid()});
  ranks.kill_expected();
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(process.pid()), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(info.si_status, SIGKILL);
}

}  // namespace
}  // namespace pinion
