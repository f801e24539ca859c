#include "launch/launched_job.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <pinion/runtime/version.hpp>

namespace pinion {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

LaunchedProcess process_on(const std::string& host, pid_t pid) {
  return {.host = host + "'s", .host_name = host, .pid = pid, .launcher = 9, .cpus = {1, 3}};
}

LaunchedHost some_host() {
  LaunchedHost host;
  host.spec.command = {std::string("\xff program", 9)};
  host.spec.rank_count = 3;
  host.spec.hosts = {{"a", 1}, {"b", 2}};
  host.spec.settings = {{"seed", "5"}};
  host.host = 1;
  host.processes = {process_on("b", 20), process_on("b", 21)};
  host.job = 77;
  host.epoch = 2;
  host.token = "secret";
  host.head_address = "10.0.0.1:4000";
  return host;
}

TEST(LaunchedJob, NumbersHostsByTheirFirstProcesses) {
  const LaunchedJob job = job_of({process_on("b", 1), process_on("a", 2), process_on("a", 3),
                                  process_on("b", 4), process_on("c", 5)});
  EXPECT_THAT(job.hosts, ElementsAre(HostRanks{"b", 2}, HostRanks{"a", 2}, HostRanks{"c", 1}));
  EXPECT_THAT(job.host_of, ElementsAre(0u, 1u, 1u, 0u, 2u));
  EXPECT_THAT(job.first_of, ElementsAre(0u, 1u, 4u));
}

TEST(LaunchedJob, TellsHostsOfOneNameApart) {
  LaunchedProcess other = process_on("a", 2);
  other.host = "another a";
  const LaunchedJob job = job_of({process_on("a", 1), other});
  EXPECT_THAT(job.hosts, ElementsAre(HostRanks{"a", 1}, HostRanks{"a", 1}));
}

TEST(LaunchedHost, ArrivesAsItWasSent) {
  const LaunchedHost sent = some_host();
  const Result<LaunchedHost> host = decode_launched_host(encode_launched_host(sent));
  ASSERT_TRUE(host.has_value()) << host.error().to_string();
  EXPECT_EQ(host->spec.command, sent.spec.command);
  EXPECT_EQ(host->spec.hosts, sent.spec.hosts);
  EXPECT_EQ(host->spec.settings, sent.spec.settings);
  EXPECT_EQ(host->host, 1u);
  EXPECT_EQ(host->processes, sent.processes);
  EXPECT_EQ(host->job, 77u);
  EXPECT_EQ(host->epoch, 2u);
  EXPECT_EQ(host->token, "secret");
  EXPECT_EQ(host->head_address, "10.0.0.1:4000");
}

TEST(LaunchedHost, OfAnotherVersionIsRefused) {
  std::string text = encode_launched_host(some_host());
  const std::string ours(version());
  const std::size_t at = text.find(ours, text.rfind("version"));
  ASSERT_NE(at, std::string::npos);
  text[at] = '8';
  const Result<LaunchedHost> host = decode_launched_host(text);
  ASSERT_FALSE(host.has_value());
  EXPECT_EQ(host.error().code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(host.error().message(), HasSubstr("the agent is " + ours));
}

TEST(LaunchedHost, ThatIsDamagedIsRefused) {
  const std::string whole = encode_launched_host(some_host());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(decode_launched_host(whole.substr(0, size)).has_value()) << size;
  }
  LaunchedHost host = some_host();
  host.processes.pop_back();
  EXPECT_FALSE(decode_launched_host(encode_launched_host(host)).has_value());
  host = some_host();
  host.host = 2;
  EXPECT_FALSE(decode_launched_host(encode_launched_host(host)).has_value());
}

TEST(AgentReport, ArrivesAsItWasSent) {
  const AgentReport sent{.outcome = Status(ErrorCode::kResourceExhausted, "no CPUs"),
                         .socket = "name",
                         .job = 1,
                         .epoch = 2,
                         .token = "token",
                         .head_address = "address"};
  const Result<AgentReport> report = decode_agent_report(encode_agent_report(sent));
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_EQ(report->outcome.to_string(), sent.outcome.to_string());
  EXPECT_EQ(report->socket, "name");
  EXPECT_EQ(report->job, 1u);
  EXPECT_EQ(report->epoch, 2u);
  EXPECT_EQ(report->token, "token");
  EXPECT_EQ(report->head_address, "address");
  EXPECT_TRUE(decode_agent_report(encode_agent_report({})).has_value());
  EXPECT_FALSE(decode_agent_report("").has_value());
}

}  // namespace
}  // namespace pinion
