#include <pinion/numa/memory_limits.hpp>

#include <string>

#include <gmock/gmock.h>

#include "read_memory_limits.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr std::uint64_t kMebi = 1u << 20;
constexpr const char* kMachine =
    "MemTotal:        8388608 kB\n"
    "MemFree:          262144 kB\n"
    "MemAvailable:    4194304 kB\n";
constexpr const char* kVersion2Mount =
    "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
constexpr const char* kVersion1Mount =
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
constexpr const char* kNoLimitOfVersion1 = "9223372036854771712\n";

std::string mebibytes(std::uint64_t count) {
  return std::to_string(count * kMebi) + "\n";
}

// A machine of 8 GiB, 4 of them available, whose process is in the group /job/step.
class Memory : public ::testing::Test {
 protected:
  Memory() { root_.write("proc/meminfo", kMachine); }

  void use_version_2() {
    root_.write("proc/self/mountinfo", kVersion2Mount);
    root_.write("proc/self/cgroup", "0::/job/step\n");
  }
  void use_version_1() {
    root_.write("proc/self/mountinfo", kVersion1Mount);
    root_.write("proc/self/cgroup", "3:memory:/job/step\n2:cpu,cpuacct:/\n");
  }
  [[nodiscard]] MemoryLimits limits() const { return read_memory_limits(root_.path()).value(); }

  TemporaryFolder root_;
};

TEST_F(Memory, IsTheMachinesWhereNothingLimitsIt) {
  EXPECT_EQ(limits().limit.bytes, 8192 * kMebi);
  EXPECT_THAT(limits().limit.source, EndsWith("/proc/meminfo MemTotal"));
  EXPECT_EQ(limits().available.bytes, 4096 * kMebi);
  EXPECT_THAT(limits().available.source, EndsWith("/proc/meminfo MemAvailable"));

  use_version_2();
  root_.write("sys/fs/cgroup/job/memory.max", "max\n");
  root_.write("sys/fs/cgroup/job/step/memory.max", mebibytes(9000));
  EXPECT_THAT(limits().limit.source, EndsWith("/proc/meminfo MemTotal"));

  use_version_1();
  root_.write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", kNoLimitOfVersion1);
  root_.write("sys/fs/cgroup/memory/job/step/memory.limit_in_bytes", kNoLimitOfVersion1);
  EXPECT_EQ(limits().limit.bytes, 8192 * kMebi);
}

TEST_F(Memory, IsLimitedByEveryGroupAroundTheProcess) {
  use_version_2();
  root_.write("sys/fs/cgroup/job/memory.max", mebibytes(2048));
  root_.write("sys/fs/cgroup/job/step/memory.max", mebibytes(3000));
  EXPECT_EQ(limits().limit.bytes, 2048 * kMebi);
  EXPECT_THAT(limits().limit.source, EndsWith("/sys/fs/cgroup/job/memory.max"));

  root_.write("sys/fs/cgroup/job/step/memory.high", mebibytes(1000));
  EXPECT_EQ(limits().limit.bytes, 1000 * kMebi);
  EXPECT_THAT(limits().limit.source, EndsWith("/sys/fs/cgroup/job/step/memory.high"));
}

TEST_F(Memory, IsLimitedByVersion1) {
  use_version_1();
  root_.write("sys/fs/cgroup/memory/memory.limit_in_bytes", mebibytes(512));
  root_.write("sys/fs/cgroup/memory/job/step/memory.limit_in_bytes", mebibytes(1024));
  EXPECT_EQ(limits().limit.bytes, 512 * kMebi);
  EXPECT_THAT(limits().limit.source, EndsWith("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
}

TEST_F(Memory, IsAvailableAsFarAsTheGroupsProcessesLeaveIt) {
  use_version_2();
  root_.write("sys/fs/cgroup/job/step/memory.max", mebibytes(2048));
  root_.write("sys/fs/cgroup/job/step/memory.current", mebibytes(1500));
  root_.write("sys/fs/cgroup/job/step/memory.stat",
              "anon 1\nfile 2\nshmem 3\ninactive_anon 4\nactive_file " + mebibytes(300) +
                  "inactive_file " + mebibytes(200));
  EXPECT_EQ(limits().limit.bytes, 2048 * kMebi);
  EXPECT_EQ(limits().available.bytes, 1048 * kMebi);
  EXPECT_THAT(limits().available.source, EndsWith("/sys/fs/cgroup/job/step/memory.max"));

  // A wider group that others fill leaves less than the inner one.
  root_.write("sys/fs/cgroup/job/memory.max", mebibytes(4000));
  root_.write("sys/fs/cgroup/job/memory.current", mebibytes(3900));
  EXPECT_EQ(limits().limit.bytes, 2048 * kMebi);
  EXPECT_EQ(limits().available.bytes, 100 * kMebi);
  EXPECT_THAT(limits().available.source, EndsWith("/sys/fs/cgroup/job/memory.max"));

  // A limit that was lowered below what is in use leaves nothing.
  root_.write("sys/fs/cgroup/job/step/memory.max", mebibytes(64));
  EXPECT_EQ(limits().available.bytes, 0u);
}

TEST_F(Memory, IsAvailableInVersion1WithTheGroupsWithin) {
  use_version_1();
  root_.write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", mebibytes(1000));
  root_.write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", mebibytes(900));
  root_.write("sys/fs/cgroup/memory/job/memory.stat",
              "cache 1\ninactive_file 5\nactive_file 5\ntotal_inactive_file " + mebibytes(100) +
                  "total_active_file " + mebibytes(50));
  EXPECT_EQ(limits().available.bytes, 250 * kMebi);
}

TEST_F(Memory, IgnoresFilesThatAreDamaged) {
  use_version_2();
  root_.write("sys/fs/cgroup/job/step/memory.max", "plenty\n");
  root_.write("sys/fs/cgroup/job/memory.max", "");
  EXPECT_EQ(limits().limit.bytes, 8192 * kMebi);
}

TEST_F(Memory, IsRefusedWhereTheSystemDoesNotTell) {
  for (const char* text : {"", "MemFree: 1 kB\n", "MemTotal: much\n"}) {
    root_.write("proc/meminfo", text);
    const Result<MemoryLimits> limits = read_memory_limits(root_.path());
    ASSERT_FALSE(limits) << text;
    EXPECT_EQ(limits.error().code(), ErrorCode::kUnavailable);
    EXPECT_THAT(limits.error().to_string(), HasSubstr("proc/meminfo has no number MemTotal"));
  }
}

TEST(MemoryLimits, OfThisProcessAreOrdered) {
  const MemoryLimits limits = memory_limits().value();
  EXPECT_GT(limits.limit.bytes, 0u);
  EXPECT_LE(limits.available.bytes, limits.limit.bytes);
  EXPECT_FALSE(limits.limit.source.empty());
}

}  // namespace
}  // namespace pinion
