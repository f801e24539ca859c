// Jobs over hosts that are network namespaces, joined by a bridge in one more: what goes between
// them goes over a network, which can be cut.

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/word_corpus.hpp"
#include "net/job_on_hosts.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr const char* kAnswer = "the sum is 2016\n";

class JobInNamespaces : public JobOnHosts {
 protected:
  static constexpr int kHostCount = 3;

  void SetUp() override {
    JobOnHosts::SetUp();
    if (IsSkipped()) {
      return;
    }
    std::string script = "#!/bin/sh\ncase $1 in\n";
    for (int host = 1; host < kHostCount; ++host) {
      script += std::string(1, static_cast<char>('a' + host)) + ") host=" + name(host) + ";;\n";
    }
    write_file(shell(), script + "esac\nshift\nexec ip netns exec $host \"$@\"\n");
    if (const std::string why = make_network(); !why.empty()) {
      GTEST_SKIP() << "no network namespaces here: " << why;
    }
  }

  void TearDown() override {
    JobOnHosts::TearDown();
    for (int host = -1; host < kHostCount; ++host) {
      static_cast<void>(ip({"netns", "del", name(host)}));
    }
  }

  // The namespace of a host; that of the bridge for -1.
  [[nodiscard]] static std::string name(int host) {
    return "pinion-" + std::to_string(getpid()) + (host < 0 ? "-hub" : "-" + std::to_string(host));
  }

  // What it said against it; nothing where it has done it.
  [[nodiscard]] std::string ip(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "ip");
    const CommandResult result = run_command(folder_, arguments);
    return result.status == 0      ? ""
           : result.errors.empty() ? "ip ended with status " + std::to_string(result.status)
                                   : result.errors;
  }

  [[nodiscard]] std::string make_network() const {
    std::vector<std::vector<std::string>> commands = {
        {"netns", "add", name(-1)},
        {"-n", name(-1), "link", "add", "bridge", "type", "bridge"},
        {"-n", name(-1), "link", "set", "bridge", "up"}};
    for (int host = 0; host < kHostCount; ++host) {
      const std::string end = port(host);
      const std::string address = "10.77.0." + std::to_string(host + 1) + "/24";
      commands.insert(commands.end(),
                      {{"netns", "add", name(host)},
                       {"-n", name(-1), "link", "add", end, "type", "veth", "peer", "name", "eth0",
                        "netns", name(host)},
                       {"-n", name(-1), "link", "set", end, "master", "bridge", "up"},
                       {"-n", name(host), "addr", "add", address, "dev", "eth0"},
                       {"-n", name(host), "link", "set", "eth0", "up"},
                       {"-n", name(host), "link", "set", "lo", "up"}});
    }
    for (const std::vector<std::string>& command : commands) {
      if (const std::string why = ip(command); !why.empty()) {
        return why;
      }
    }
    return {};
  }

  [[nodiscard]] static std::string port(int host) { return "port" + std::to_string(host); }

  // The way of a host to all others.
  void set_link(int host, const std::string& state) const {
    EXPECT_EQ(ip({"-n", name(-1), "link", "set", port(host), state}), "");
  }

  // What leaves by that device queues so from now on, in the words of `tc`. Whether it can be told.
  [[nodiscard]] bool queue(const std::string& space, const std::string& device,
                           const std::vector<std::string>& words) const {
    std::vector<std::string> command = {"tc",      "-n",  space,  "qdisc",
                                        "replace", "dev", device, "root"};
    command.insert(command.end(), words.begin(), words.end());
    return run_command(folder_, command).status == 0;
  }

  [[nodiscard]] std::vector<std::string> in_namespaces(
      const std::vector<int>& rank_counts, const std::vector<std::string>& program,
      const std::vector<std::string>& options = {}) {
    std::vector<std::string> command = on_hosts(rank_counts, program, options);
    command.insert(command.begin(), {"ip", "netns", "exec", name(0)});
    return command;
  }
};

TEST_F(JobInNamespaces, CountsWordsAsOneRankDoes) {
  const WordCorpus corpus = WordCorpus::of_seed(2);
  write_file(path("text"), corpus.text);
  for (const std::vector<int>& ranks : {std::vector{1, 1}, {2, 1, 1}}) {
    fs::remove(path("grants"));
    const CommandResult result = run(in_namespaces(
        ranks, {WORD_PROGRAM, "4000", path("out"), path("text")}, grant_log_option()));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(read_file(path("out")), corpus.counts);
    EXPECT_THAT(fence_violations(grant_log()), testing::IsEmpty());
    EXPECT_THAT(result.errors, HasSubstr("eth0"));
    fs::remove(path("out"));
  }
}

TEST_F(JobInNamespaces, UsesTheNetworkThatIsNamed) {
  const CommandResult result =
      run(in_namespaces({1, 1}, {"true"}, {"--set", "network=10.77.0.0/24"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  const CommandResult other =
      run(in_namespaces({1, 1}, {"true"}, {"--set", "network=10.78.0.0/24"}));
  EXPECT_EQ(other.status, 66);
  EXPECT_THAT(other.errors, HasSubstr("no address in the network 10.78.0.0/24"));
}

TEST_F(JobInNamespaces, OutlivesALinkThatIsDownForAMoment) {
  RunningCommand running(
      folder_, in_namespaces({1, 1}, {GATED_PROGRAM, path("")}, grant_log_option()), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  set_link(1, "down");
  write_file(path("gate"), "open");
  set_link(1, "up");
  const std::optional<int> status = running.wait_for(120s);
  // Unless the system has stopped this test in between for longer than a host may be silent.
  if (running.errors().find("host 1 is lost") == std::string::npos) {
    EXPECT_EQ(status, 0) << running.errors();
    EXPECT_EQ(running.output(), kAnswer);
    EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
  }
}

TEST_F(JobInNamespaces, GoesOnWithoutAHostWhoseLinkStaysDown) {
  RunningCommand running(
      folder_, in_namespaces({1, 1}, {GATED_PROGRAM, path("")}, grant_log_option()), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const pid_t cut_off = pid_of(grant_log(), 1, 1);
  set_link(1, "down");
  ASSERT_TRUE(eventually([&] {
    return running.errors().find("host 1 is lost: b: ") != std::string::npos;
  })) << running.errors();
  // The host that is cut off does not go on by itself.
  const std::string command_line = "/proc/" + std::to_string(cut_off) + "/cmdline";
  EXPECT_TRUE(eventually([&] { return read_file(command_line).empty(); }));
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), kAnswer);
  EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
}

// Every host must notice by itself: what one still hears says nothing of what it says.
class JobInNamespacesOneWay : public JobInNamespaces {
 protected:
  void go_on_without(int host, const std::string& space, const std::string& device) {
    RunningCommand running(folder_,
                           in_namespaces({1, 1, 1}, {GATED_PROGRAM, path("")}, grant_log_option()),
                           environment());
    ASSERT_TRUE(bodies_have_begun()) << running.errors();
    if (!queue(space, device, {"pfifo", "limit", "0"})) {
      GTEST_SKIP() << "tc cannot drop what leaves a device here (package iproute2)";
    }
    const std::string lost = "host " + std::to_string(host) + " is lost: ";
    ASSERT_TRUE(eventually([&] { return running.errors().find(lost) != std::string::npos; }))
        << running.errors();
    write_file(path("gate"), "open");
    EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
    EXPECT_EQ(running.output(), kAnswer);
    EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
  }
};

TEST_F(JobInNamespacesOneWay, GoesOnWithoutAHostThatNothingReaches) {
  go_on_without(1, name(-1), port(1));
}

TEST_F(JobInNamespacesOneWay, GoesOnWithoutAHostThatNothingComesFrom) {
  go_on_without(1, name(1), "eth0");
}

// The kernel says that these links carry 10 Gb/s. Partials and the answer have 16 MB each.
TEST_F(JobInNamespaces, SaysThatAWayIsSlow) {
  const std::vector<std::string> slow = {"tbf",  "rate",    "20mbit", "burst",
                                         "64kb", "latency", "50ms"};
  if (!queue(name(-1), port(1), slow) || !queue(name(1), "eth0", slow)) {
    GTEST_SKIP() << "tc cannot slow down a device here (package iproute2, and tbf in the kernel)";
  }
  RunningCommand running(
      folder_, in_namespaces({1, 1}, {GATED_PROGRAM, path(""), "2000000"}, grant_log_option()),
      environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(120s), 0) << running.errors();
  EXPECT_EQ(running.output(), kAnswer);
  // At once, by whoever notices; and in the end.
  EXPECT_THAT(running.errors(),
              testing::ContainsRegex("pinion: warning: from (localhost to b|b to localhost): "
                                     "blobs come at [0-9.]+ [KM]iB/s, and tcp over eth0 should"));
  EXPECT_THAT(running.errors(),
              testing::ContainsRegex("pinion: warning: localhost and b: blobs come at"));
}

}  // namespace
}  // namespace pinion
