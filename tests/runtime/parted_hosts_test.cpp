#include "hosts/parted_hosts.hpp"

#include <chrono>

#include <gtest/gtest.h>

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr Instant kBegin{1000s};

class PartedHostsTest : public ::testing::Test {
 protected:
  PartedHosts parted_{6s};
};

TEST_F(PartedHostsTest, AreNoneAtFirst) {
  EXPECT_FALSE(parted_.due());
  EXPECT_FALSE(parted_.choose(kBegin));
}

TEST_F(PartedHostsTest, CostTheLaterOfTwoOnceTheyArePartedForLongEnough) {
  parted_.add(1, 2, kBegin, "no way");
  parted_.add(2, 1, kBegin + 3s, "said by the other, too");
  EXPECT_EQ(parted_.due(), kBegin + 6s);
  EXPECT_FALSE(parted_.choose(kBegin + 5s));
  const auto choice = parted_.choose(kBegin + 6s);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->host, 2u);
  EXPECT_EQ(choice->other, 1u);
  EXPECT_EQ(choice->reason, "no way");
}

TEST_F(PartedHostsTest, CostTheOneThatIsPartedFromMoreOthers) {
  parted_.add(3, 1, kBegin, "no way");
  parted_.add(1, 2, kBegin + 1s, "no way");
  EXPECT_EQ(parted_.choose(kBegin + 6s)->host, 1u);
  parted_.forget(1);
  EXPECT_FALSE(parted_.due()) << "the others reach each other";
}

TEST_F(PartedHostsTest, AreThoseThatAreLeft) {
  parted_.add(1, 2, kBegin, "no way");
  parted_.add(3, 4, kBegin + 2s, "no way");
  parted_.forget(2);
  EXPECT_EQ(parted_.due(), kBegin + 8s);
  EXPECT_EQ(parted_.choose(kBegin + 8s)->host, 4u);
}

TEST_F(PartedHostsTest, AreTwo) {
  parted_.add(1, 1, kBegin, "it does not reach itself");
  EXPECT_FALSE(parted_.due());
}

}  // namespace
}  // namespace pinion
