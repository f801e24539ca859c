// Jobs over hosts that are network namespaces: what goes between them goes over a network, which
// can be cut.

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/clock.hpp>

#include "mp/word_corpus.hpp"
#include "net/job_in_namespaces.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kAnswer = "the sum is 2016\n";

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

TEST_F(JobInNamespaces, OutlivesALinkThatIsDownForASecond) {
  RunningCommand running(
      folder_, in_namespaces({1, 1}, {GATED_PROGRAM, path("")}, grant_log_option()), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const SystemClock clock;
  const Instant before = clock.now();
  set_link(1, "down");
  write_file(path("gate"), "open");
  EXPECT_FALSE(running.wait_for(1s).has_value()) << "nobody waited for the other host";
  set_link(1, "up");
  if (clock.now() - before > 4s) {
    GTEST_SKIP() << "this system was too busy to take the link up in time: after 6 s without a "
                    "word a host is lost";
  }
  expect_the_answer_once(running);
  EXPECT_THAT(running.errors(), Not(HasSubstr("is lost")));
}

TEST_F(JobInNamespaces, GoesOnWithoutAHostWhoseLinkStaysDown) {
  detach_agents();
  RunningCommand running(
      folder_, in_namespaces({1, 1}, {GATED_PROGRAM, path("")}, grant_log_option()), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const pid_t cut_off = pid_of(grant_log(), 1, 1);
  set_link(1, "down");
  ASSERT_TRUE(is_lost(running, 1)) << running.errors();
  // The host that is cut off does not go on by itself.
  const std::string command_line = "/proc/" + std::to_string(cut_off) + "/cmdline";
  EXPECT_TRUE(eventually([&] { return read_file(command_line).empty(); }));
  expect_the_answer_once(running);
}

// Its agent is stopped while it is lost, so that it takes up where it was when the link is there
// again.
TEST_F(JobInNamespaces, TakesNobodyBackWhoseLinkComesBack) {
  detach_agents();
  RunningCommand running(
      folder_, in_namespaces({1, 1}, {GATED_PROGRAM, path("")}, grant_log_option()), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const pid_t cut_off = pid_of(grant_log(), 1, 1);
  const pid_t agent = parent_of(cut_off);
  kill(agent, SIGSTOP);
  set_link(1, "down");
  ASSERT_TRUE(is_lost(running, 1)) << running.errors();
  set_link(1, "up");
  kill(agent, SIGCONT);
  const std::string command_line = "/proc/" + std::to_string(cut_off) + "/cmdline";
  EXPECT_TRUE(eventually([&] { return read_file(command_line).empty(); }));
  expect_the_answer_once(running);
  EXPECT_EQ(count_of(" is lost: ", running.errors()), 1u) << running.errors();
}

// Every host must notice by itself: what one still hears says nothing of what it says.
class JobInNamespacesOneWay : public JobInNamespaces {
 protected:
  void go_on_without(int host, const std::string& space, const std::string& device) {
    detach_agents();
    RunningCommand running(folder_,
                           in_namespaces({1, 1, 1}, {GATED_PROGRAM, path("")}, grant_log_option()),
                           environment());
    ASSERT_TRUE(bodies_have_begun()) << running.errors();
    if (!queue(space, device, {"pfifo", "limit", "0"})) {
      GTEST_SKIP() << "tc cannot drop what leaves a device here (package iproute2)";
    }
    ASSERT_TRUE(is_lost(running, host)) << running.errors();
    expect_the_answer_once(running);
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
