#pragma once

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/job_on_hosts.hpp"

namespace pinion {

/// A test that runs jobs over hosts which are network namespaces, joined by a bridge in one more.
class JobInNamespaces : public JobOnHosts {
 protected:
  explicit JobInNamespaces(int host_count = 3) : host_count_(host_count) {}

  void SetUp() override {
    JobOnHosts::SetUp();
    if (IsSkipped()) {
      return;
    }
    write_file(shell(), shell_script());
    if (const std::string why = make_network(); !why.empty()) {
      GTEST_SKIP() << "no network namespaces here: " << why;
    }
    for (int host = 0; host < host_count_; ++host) {
      ASSERT_TRUE(eventually([&] { return has_carrier(host); })) << name(host);
    }
  }

  void TearDown() override {
    JobOnHosts::TearDown();
    for (int host = -1; host < host_count_; ++host) {
      static_cast<void>(ip({"netns", "del", name(host)}));
    }
  }

  /// A remote shell that becomes what it starts in a host, after `first`; or becomes `runner`,
  /// which starts that.
  [[nodiscard]] std::string shell_script(const std::string& first = {},
                                         const std::string& runner = {}) const {
    std::string script = "#!/bin/sh\n" + first + "case $1 in\n";
    for (int host = 1; host < host_count_; ++host) {
      script += std::string(1, static_cast<char>('a' + host)) + ") host=" + name(host) + ";;\n";
    }
    return script + "esac\nshift\nexec " + runner + "ip netns exec $host \"$@\"\n";
  }

  /// From now on a remote shell is not the agent that it starts, and its end not that one's end.
  void detach_agents() const { write_file(shell(), shell_script({}, "setsid --fork --wait ")); }

  /// The namespace of a host; that of the bridge for -1.
  [[nodiscard]] static std::string name(int host) {
    return "pinion-" + std::to_string(getpid()) + (host < 0 ? "-hub" : "-" + std::to_string(host));
  }

  /// What it said against it; nothing where it has done it.
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
    for (int host = 0; host < host_count_; ++host) {
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

  /// Which the system may see a second after both ends of the cable have been set up.
  [[nodiscard]] bool has_carrier(int host) const {
    const std::vector<std::string> show = {"ip", "-n", name(host), "-br", "link", "show", "eth0"};
    return run_command(folder_, show).output.find(" UP ") != std::string::npos;
  }

  [[nodiscard]] static std::string port(int host) { return "port" + std::to_string(host); }

  /// The way of a host to all others.
  void set_link(int host, const std::string& state) const {
    EXPECT_EQ(ip({"-n", name(-1), "link", "set", port(host), state}), "");
  }

  /// Hosts that do not reach each other from now on, and reach all others. Whether that can be.
  [[nodiscard]] bool part(const std::vector<int>& hosts) const {
    return std::all_of(hosts.begin(), hosts.end(), [this](int host) {
      return ip({"-n", name(-1), "link", "set", port(host), "type", "bridge_slave", "isolated",
                 "on"}) == "";
    });
  }

  /// Kills whatever runs in a host, at once. That of host 0 is `pinion run` as well.
  void kill_host(int host) const {
    const CommandResult pids = run_command(folder_, {"ip", "netns", "pids", name(host)});
    EXPECT_EQ(pids.status, 0) << pids.errors;
    for (const std::string& pid : lines_of(pids.output)) {
      kill(std::stoi(pid), SIGKILL);
    }
  }

  /// Waits until the job says that a host is lost.
  [[nodiscard]] static bool is_lost(const RunningCommand& running, int host) {
    const std::string words = "host " + std::to_string(host) + " is lost: ";
    return eventually([&] { return running.errors().find(words) != std::string::npos; });
  }

  /// Lets the gated program go on, and expects its answer, with each shard accepted once.
  void expect_the_answer_once(RunningCommand& running) const {
    write_file(path("gate"), "open");
    EXPECT_EQ(running.wait_for(std::chrono::seconds(60)), 0) << running.errors();
    EXPECT_EQ(running.output(), "the sum is 2016\n");
    EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
    EXPECT_THAT(fence_violations(grant_log()), testing::IsEmpty());
  }

  /// What leaves by that device queues so from now on, in the words of `tc`. Whether that can be.
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

 private:
  int host_count_;
};

}  // namespace pinion
