#include "launch/launched_placement.hpp"

#include <sched.h>

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using testing::IsEmpty;
using testing::Not;

class LaunchedPlacement : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(sched_getaffinity(0, sizeof(before_), &before_), 0); }
  void TearDown() override { sched_setaffinity(0, sizeof(before_), &before_); }

  static std::vector<LaunchedProcess> processes(const std::vector<std::vector<unsigned>>& cpus) {
    std::vector<LaunchedProcess> all;
    for (const std::vector<unsigned>& own : cpus) {
      all.push_back({.cpus = own});
    }
    return all;
  }

  // CPUs of this process, as many as are asked for; fewer where it has fewer.
  [[nodiscard]] std::vector<unsigned> own_cpus(std::size_t count) const {
    std::vector<unsigned> cpus;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && cpus.size() < count; ++cpu) {
      if (CPU_ISSET(cpu, &before_)) {
        cpus.push_back(cpu);
      }
    }
    return cpus;
  }

  cpu_set_t before_{};
};

TEST_F(LaunchedPlacement, TellsCpusOfTheirOwnFromSharedOnes) {
  EXPECT_TRUE(have_cpus_of_their_own(processes({{0, 1}, {2, 3}})));
  EXPECT_TRUE(have_cpus_of_their_own(processes({{0, 1}})));
  EXPECT_FALSE(have_cpus_of_their_own(processes({{0, 1}, {1, 2}})));
  EXPECT_FALSE(have_cpus_of_their_own(processes({{0, 1}, {0, 1}})));
}

TEST_F(LaunchedPlacement, KeepsRanksWhereTheLauncherHasBoundThem) {
  const std::vector<unsigned> cpus = own_cpus(2);
  if (cpus.size() < 2) {
    GTEST_SKIP() << "this process has one CPU";
  }
  // The agent is bound as the rank is that has started it.
  const cpu_set_t first = [&] {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpus[1], &set);
    return set;
  }();
  ASSERT_EQ(sched_setaffinity(0, sizeof(first), &first), 0);
  const Result<HostPlacement> placement =
      placement_of_launched(processes({{cpus[1]}, {cpus[0]}}), {}, 3);
  ASSERT_TRUE(placement.has_value()) << placement.error().to_string();
  ASSERT_EQ(placement->ranks.size(), 2u);
  for (std::size_t rank = 0; rank < 2; ++rank) {
    ASSERT_EQ(placement->ranks[rank].groups.size(), 1u);
    const WorkerGroup& group = placement->ranks[rank].groups.front();
    EXPECT_EQ(group.cpus, std::vector<unsigned>{cpus[1 - rank]});
    EXPECT_EQ(group.worker_count, 1u);
    EXPECT_EQ(group.place.host, 3u);
  }
}

TEST_F(LaunchedPlacement, SharesCpusThatTheLauncherHasLeftToAll) {
  const std::vector<unsigned> cpus = own_cpus(CPU_SETSIZE);
  const std::size_t rank_count = cpus.size() + 1;
  const Result<HostPlacement> placement =
      placement_of_launched(processes(std::vector<std::vector<unsigned>>(rank_count, cpus)), {}, 0);
  ASSERT_TRUE(placement.has_value()) << placement.error().to_string();
  ASSERT_EQ(placement->ranks.size(), rank_count);
  for (const RankPlacement& rank : placement->ranks) {
    ASSERT_THAT(rank.groups, Not(IsEmpty()));
    EXPECT_EQ(rank.groups.front().worker_count, 1u);
  }
}

}  // namespace
}  // namespace pinion
