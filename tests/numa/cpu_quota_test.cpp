#include "cpu_quota.hpp"

#include <gtest/gtest.h>

#include "temporary_folder.hpp"

namespace pinion {
namespace {

constexpr const char* kVersion2Mount =
    "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
constexpr const char* kVersion1Mount =
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";

TEST(CpuQuota, IsUnlimitedWhereNothingSaysOtherwise) {
  const TemporaryFolder root;
  EXPECT_EQ(read_cpu_quota(root.path()), std::nullopt);

  root.write("proc/self/mountinfo", kVersion2Mount);
  root.write("proc/self/cgroup", "0::/job\n");
  root.write("sys/fs/cgroup/job/cpu.max", "max 100000\n");
  EXPECT_EQ(read_cpu_quota(root.path()), std::nullopt);
}

TEST(CpuQuota, IsReadFromVersion2) {
  const TemporaryFolder root;
  root.write("proc/self/mountinfo", kVersion2Mount);
  root.write("proc/self/cgroup", "0::/job\n");
  root.write("sys/fs/cgroup/job/cpu.max", "150000 100000\n");
  EXPECT_EQ(read_cpu_quota(root.path()), 1.5);
}

TEST(CpuQuota, IsTheTightestOfAllGroupsAround) {
  const TemporaryFolder root;
  root.write("proc/self/mountinfo", kVersion2Mount);
  root.write("proc/self/cgroup", "0::/user/job/step\n");
  root.write("sys/fs/cgroup/user/cpu.max", "200000 100000\n");
  root.write("sys/fs/cgroup/user/job/cpu.max", "max 100000\n");
  root.write("sys/fs/cgroup/user/job/step/cpu.max", "800000 100000\n");
  EXPECT_EQ(read_cpu_quota(root.path()), 2.0);
}

TEST(CpuQuota, IsReadFromVersion1) {
  const TemporaryFolder root;
  root.write("proc/self/mountinfo", kVersion1Mount);
  root.write("proc/self/cgroup", "3:cpuset:/other\n2:cpu,cpuacct:/job\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "350000\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(read_cpu_quota(root.path()), 3.5);
}

TEST(CpuQuota, IsFoundInAContainerThatSeesTheHostsPath) {
  const TemporaryFolder root;
  root.write("proc/self/mountinfo",
             "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro master:4 - cgroup cgroup rw,cpu\n");
  root.write("proc/self/cgroup", "2:cpu:/docker/abc\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(read_cpu_quota(root.path()), 4.0);
}

TEST(CpuQuota, IsUnlimitedWhenItsFilesAreDamaged) {
  const TemporaryFolder root;
  root.write("proc/self/mountinfo", std::string("no mount\n\n31 23\n") + kVersion2Mount);
  root.write("proc/self/cgroup", "junk\n0:\n0::/job\n");
  root.write("sys/fs/cgroup/job/cpu.max", "150000 0\n");
  EXPECT_EQ(read_cpu_quota(root.path()), std::nullopt);
}

TEST(CpuQuota, LimitsTheWorkersRoundedUp) {
  EXPECT_EQ(workers_within(8, std::nullopt), 8u);
  EXPECT_EQ(workers_within(8, 16.0), 8u);
  EXPECT_EQ(workers_within(8, 8.0), 8u);
  EXPECT_EQ(workers_within(8, 2.0), 2u);
  EXPECT_EQ(workers_within(8, 2.1), 3u);
  EXPECT_EQ(workers_within(8, 0.1), 1u);
}

}  // namespace
}  // namespace pinion
