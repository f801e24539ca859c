#include "launch/join_launcher.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/start_agent.hpp"
#include "runtime/shared_exchange.hpp"

namespace pinion {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Processes of a launcher, each on the host that `hosts` names, and the agents that they start,
// which are sockets here.
class Launch {
 public:
  explicit Launch(std::vector<std::string> hosts) : hosts_(std::move(hosts)) {}

  void join() {
    SharedExchange exchange(static_cast<std::uint32_t>(hosts_.size()));
    outcomes_.resize(hosts_.size());
    exchange.run([this](std::unique_ptr<IExchange> processes) {
      const std::uint32_t process = processes->process();
      const LaunchedProcess self{.host = hosts_[process] + " of a network",
                                 .host_name = hosts_[process],
                                 .pid = static_cast<pid_t>(100 + process)};
      Result<AgentConnection> joined =
          become_ranks(std::move(processes), self,
                       {.name = "program", .settings = {{"seed", std::to_string(process)}}},
                       [this](const LaunchedHost& host) { return start(host); });
      outcomes_[process] = joined ? Status() : joined.error();
      const std::lock_guard lock(mutex_);
      if (joined && joined->started_agent) {
        starters_.insert(process);
      }
      if (joined) {
        connections_.push_back(std::move(joined->socket));
      }
    });
  }

  void fail_on(std::uint32_t host) { failing_host_ = host; }

  [[nodiscard]] std::vector<Status> outcomes() const { return outcomes_; }
  [[nodiscard]] const std::set<std::uint32_t>& starters() const { return starters_; }
  [[nodiscard]] const std::map<std::uint32_t, LaunchedHost>& agents() const { return agents_; }

  // Those that have connected to the agent of that host.
  [[nodiscard]] int connection_count(std::uint32_t host) const {
    int count = 0;
    while (true) {
      const UniqueFd socket(accept4(sockets_.at(host).get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!socket.valid()) {
        return count;
      }
      ++count;
    }
  }

 private:
  Result<AgentReport> start(const LaunchedHost& host) {
    const std::lock_guard lock(mutex_);
    agents_.emplace(host.host, host);
    if (host.host == failing_host_) {
      return AgentReport{.outcome = Status(ErrorCode::kResourceExhausted, "too little of it")};
    }
    Result<ListeningSocket> listening = listen_for_ranks();
    if (!listening) {
      return std::move(listening).error();
    }
    sockets_.emplace(host.host, std::move(listening->descriptor));
    return AgentReport{.socket = listening->name,
                       .job = 7,
                       .epoch = 3,
                       .token = "token",
                       .head_address = host.host == 0 ? "of the head" : "of another"};
  }

  const std::vector<std::string> hosts_;
  std::optional<std::uint32_t> failing_host_;
  std::mutex mutex_;
  std::vector<Status> outcomes_;
  std::set<std::uint32_t> starters_;
  std::vector<UniqueFd> connections_;
  std::map<std::uint32_t, LaunchedHost> agents_;
  std::map<std::uint32_t, UniqueFd> sockets_;
};

std::vector<pid_t> pids_of(const LaunchedHost& host) {
  std::vector<pid_t> pids;
  for (const LaunchedProcess& process : host.processes) {
    pids.push_back(process.pid);
  }
  return pids;
}

TEST(BecomingRanks, OfOneHostHasOneAgentThatTheFirstStarts) {
  Launch launch({"a", "a", "a"});
  launch.join();
  for (const Status& outcome : launch.outcomes()) {
    EXPECT_TRUE(outcome.ok()) << outcome.to_string();
  }
  EXPECT_THAT(launch.starters(), ElementsAre(0u));
  ASSERT_EQ(launch.agents().size(), 1u);
  const LaunchedHost& host = launch.agents().at(0);
  EXPECT_EQ(host.spec.rank_count, 3u);
  EXPECT_THAT(host.spec.hosts, IsEmpty());
  EXPECT_THAT(host.spec.command, ElementsAre("program"));
  EXPECT_THAT(host.spec.settings, ElementsAre(std::pair("seed", "0")));
  EXPECT_THAT(pids_of(host), ElementsAre(100, 101, 102));
  EXPECT_EQ(launch.connection_count(0), 3);
}

TEST(BecomingRanks, OfHostsInTurnGivesEachHostABlockOfRanks) {
  Launch launch({"a", "b", "a", "b", "c"});
  launch.join();
  for (const Status& outcome : launch.outcomes()) {
    EXPECT_TRUE(outcome.ok()) << outcome.to_string();
  }
  EXPECT_THAT(launch.starters(), ElementsAre(0u, 1u, 4u));
  ASSERT_EQ(launch.agents().size(), 3u);
  for (const auto& [number, host] : launch.agents()) {
    EXPECT_THAT(host.spec.hosts,
                ElementsAre(HostRanks{"a", 2}, HostRanks{"b", 2}, HostRanks{"c", 1}));
    EXPECT_THAT(host.spec.settings, ElementsAre(std::pair("seed", number == 0   ? "0"
                                                                  : number == 1 ? "1"
                                                                                : "4")));
    EXPECT_EQ(host.host, number);
  }
  EXPECT_THAT(pids_of(launch.agents().at(0)), ElementsAre(100, 102));
  EXPECT_THAT(pids_of(launch.agents().at(1)), ElementsAre(101, 103));
  EXPECT_THAT(pids_of(launch.agents().at(2)), ElementsAre(104));
  EXPECT_EQ(launch.connection_count(0), 2);
  EXPECT_EQ(launch.connection_count(1), 2);
  EXPECT_EQ(launch.connection_count(2), 1);
}

TEST(BecomingRanks, TellsOtherAgentsWhatTheHeadSays) {
  Launch launch({"a", "b"});
  launch.join();
  const LaunchedHost& other = launch.agents().at(1);
  EXPECT_EQ(other.job, 7u);
  EXPECT_EQ(other.epoch, 3u);
  EXPECT_EQ(other.token, "token");
  EXPECT_EQ(other.head_address, "of the head");
}

TEST(BecomingRanks, FailsOnAllWhenAnAgentCannotDoItsPart) {
  for (const std::uint32_t failing : {0u, 1u}) {
    Launch launch({"a", "b", "b"});
    launch.fail_on(failing);
    launch.join();
    for (const Status& outcome : launch.outcomes()) {
      EXPECT_EQ(outcome.code(), ErrorCode::kResourceExhausted);
      EXPECT_THAT(outcome.message(), HasSubstr(failing == 0 ? "a: too little" : "b: too little"));
    }
    // Without a head no other is started.
    EXPECT_EQ(launch.agents().size(), failing == 0 ? 1u : 2u);
  }
}

}  // namespace
}  // namespace pinion
