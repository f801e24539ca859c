#include "agent/affinity_mask.hpp"

#include <cstdint>
#include <set>

#include <gtest/gtest.h>

namespace pinion {
namespace {

// Reads the mask as the kernel does: bit by bit, in words of a long.
std::set<unsigned> cpus_of(const std::vector<cpu_set_t>& mask) {
  const auto* words = reinterpret_cast<const unsigned long*>(mask.data());
  constexpr unsigned kBits = 8 * sizeof(unsigned long);
  std::set<unsigned> cpus;
  for (unsigned bit = 0; bit < mask.size() * CPU_SETSIZE; ++bit) {
    if ((words[bit / kBits] >> (bit % kBits) & 1) != 0) {
      cpus.insert(bit);
    }
  }
  return cpus;
}

TEST(AffinityMask, HoldsTheCpusHoweverHighTheirNumbersAre) {
  for (const std::set<unsigned>& cpus : {std::set<unsigned>{0},
                                         {1023},
                                         {1024},
                                         {0, 63, 64, 1023, 1024, 1087},
                                         {5, 2047, 2048, 8191},
                                         {65535}}) {
    const std::vector<unsigned> list(cpus.begin(), cpus.end());
    EXPECT_EQ(cpus_of(affinity_mask(list)), cpus);
    const std::vector<unsigned> reversed(cpus.rbegin(), cpus.rend());
    EXPECT_EQ(cpus_of(affinity_mask(reversed)), cpus);
  }
}

TEST(AffinityMask, IsAsLongAsItsHighestCpuNeeds) {
  EXPECT_TRUE(affinity_mask({}).empty());
  EXPECT_EQ(affinity_mask(std::vector<unsigned>{1023}).size(), 1u);
  EXPECT_EQ(affinity_mask(std::vector<unsigned>{1024, 0}).size(), 2u);
}

}  // namespace
}  // namespace pinion
