#include "launch/slurm_allocation.hpp"

#include <stdlib.h>

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/environment_guard.hpp"
#include "settings.hpp"

namespace pinion {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> hosts_in(const std::string& text) {
  const Result<std::vector<std::string>> hosts = parse_slurm_hosts(text);
  return hosts ? *hosts : std::vector<std::string>{hosts.error().to_string()};
}

TEST(SlurmAllocation, ExpandsListsOfHosts) {
  EXPECT_THAT(hosts_in("a"), ElementsAre("a"));
  EXPECT_THAT(hosts_in("a,b-2,c"), ElementsAre("a", "b-2", "c"));
  EXPECT_THAT(hosts_in("node[08-11,2]"),
              ElementsAre("node08", "node09", "node10", "node11", "node2"));
  EXPECT_THAT(hosts_in("x,rack[1-2]n[3,5].net,y"),
              ElementsAre("x", "rack1n3.net", "rack1n5.net", "rack2n3.net", "rack2n5.net", "y"));
}

TEST(SlurmAllocation, RefusesWhatIsNoListOfHosts) {
  for (const char* const text :
       {"", "a,", "n[1", "n[]", "n[3-1]", "n[x]", "n[1-]", "n[0-99999]", "n[0-999]m[0-999]"}) {
    EXPECT_FALSE(parse_slurm_hosts(text).has_value()) << text;
  }
}

TEST(SlurmAllocation, ExpandsCounts) {
  EXPECT_THAT(*parse_slurm_counts("2"), ElementsAre(2u));
  EXPECT_THAT(*parse_slurm_counts("2(x3),1,4(x2)"), ElementsAre(2u, 2u, 2u, 1u, 4u, 4u));
  for (const char* const text : {"", "0", "x", "2(x", "2(x)", "2(3)", "1(x70000)", "-1"}) {
    EXPECT_FALSE(parse_slurm_counts(text).has_value()) << text;
  }
}

class AllocatedHosts : public testing::Test {
 protected:
  static constexpr const char* kNames[] = {"SLURM_JOB_NODELIST", "SLURM_TASKS_PER_NODE",
                                           "SLURMD_NODENAME"};
  void SetUp() override { TearDown(); }
  void TearDown() override {
    for (const char* const name : kNames) {
      unsetenv(name);
    }
  }

  EnvironmentGuard environment_;
};

TEST_F(AllocatedHosts, AreNoneOutsideOfSlurm) {
  EXPECT_THAT(*hosts_of_allocation(), IsEmpty());
  EXPECT_EQ(read_settings()->remote_shell, "ssh -o BatchMode=yes");
  EXPECT_EQ(read_settings()->start_width, 16u);
}

TEST_F(AllocatedHosts, HaveAsManyRanksAsTasks) {
  environment_.set("SLURM_JOB_NODELIST", "n[1-3]");
  environment_.set("SLURM_TASKS_PER_NODE", "4(x2),2");
  EXPECT_THAT(*hosts_of_allocation(),
              ElementsAre(HostRanks{"n1", 4}, HostRanks{"n2", 4}, HostRanks{"n3", 2}));
  environment_.set("SLURMD_NODENAME", "n1");
  EXPECT_EQ(hosts_of_allocation()->front().name, "localhost");
  unsetenv("SLURM_TASKS_PER_NODE");
  EXPECT_EQ(hosts_of_allocation()->back().rank_count, 1u);
}

TEST_F(AllocatedHosts, AreReachedBySrunUnlessToldOtherwise) {
  environment_.set("SLURM_JOB_NODELIST", "n1");
  EXPECT_THAT(read_settings()->remote_shell, HasSubstr("srun "));
  EXPECT_GE(read_settings()->start_width, 65'536u);
  environment_.set("PINION_REMOTE_SHELL", "own");
  EXPECT_EQ(read_settings()->remote_shell, "own");
}

TEST_F(AllocatedHosts, AreRefusedWhereTheyAreNotUnderstood) {
  environment_.set("SLURM_JOB_NODELIST", "n[1");
  EXPECT_THAT(hosts_of_allocation().error().message(), HasSubstr("SLURM_JOB_NODELIST"));
  environment_.set("SLURM_JOB_NODELIST", "n[1-2]");
  environment_.set("SLURM_TASKS_PER_NODE", "4");
  EXPECT_THAT(hosts_of_allocation().error().message(), HasSubstr("speaks of other hosts"));
}

}  // namespace
}  // namespace pinion
