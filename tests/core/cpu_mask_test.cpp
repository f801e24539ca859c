#include "cpu_mask.hpp"

#include <cerrno>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/detail/cpu_list.hpp>

namespace pinion {
namespace {

TEST(CpuMask, HoldsTheCpuItWasMadeOf) {
  for (const unsigned cpu : {0u, 63u, 1024u, 8191u}) {
    const CpuMask mask = CpuMask::of_cpu(cpu);
    EXPECT_EQ(mask.cpus(), std::vector<unsigned>{cpu});
    EXPECT_TRUE(mask.contains(cpu));
    EXPECT_FALSE(mask.contains(cpu + 1));
  }
}

TEST(CpuMask, HoldsAllCpusItWasMadeOf) {
  const std::vector<unsigned> cpus = {0, 63, 64, 1024, 8191};
  EXPECT_EQ(CpuMask::of_cpus(cpus).cpus(), cpus);
  EXPECT_TRUE(CpuMask::of_cpus({}).cpus().empty());
}

TEST(CpuMask, NarrowsTheCallingThread) {
  const CpuMask before = CpuMask::of_calling_thread().value();
  const unsigned cpu = before.cpus().back();
  EXPECT_EQ(CpuMask::of_cpu(cpu).bind_calling_thread(), 0);
  EXPECT_EQ(CpuMask::of_calling_thread().value().cpus(), std::vector<unsigned>{cpu});
  EXPECT_EQ(before.bind_calling_thread(), 0);
  EXPECT_EQ(CpuMask::of_calling_thread().value().cpus(), before.cpus());
}

TEST(CpuMask, ReturnsTheErrnoOfACpuThatIsNotThere) {
  EXPECT_EQ(CpuMask::of_cpu(8191).bind_calling_thread(), EINVAL);
}

TEST(CpuList, JoinsNeighbours) {
  EXPECT_EQ(detail::to_cpu_list(std::vector<unsigned>{}), "");
  EXPECT_EQ(detail::to_cpu_list(std::vector<unsigned>{5}), "5");
  EXPECT_EQ(detail::to_cpu_list(std::vector<unsigned>{0, 1, 2, 3, 8}), "0-3,8");
  EXPECT_EQ(detail::to_cpu_list(std::vector<unsigned>{1, 3, 4}), "1,3-4");
}

}  // namespace
}  // namespace pinion
