#include "protocol/combined_groups.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion::protocol {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::uint64_t kMiB = 1U << 20U;

/// Hosts with so many partials of so many bytes each.
std::vector<PartialsOfHost> hosts(std::uint32_t host_count, std::uint64_t count,
                                  std::uint64_t bytes) {
  std::vector<PartialsOfHost> all;
  for (std::uint32_t host = 0; host < host_count; ++host) {
    all.push_back(
        {.host = host, .size_bytes = count * bytes, .largest_bytes = bytes, .count = count});
  }
  return all;
}

std::vector<CombinedGroup> choose(std::uint32_t host_count, std::uint32_t partition_count,
                                  std::uint64_t bytes = 64 * kMiB, std::uint64_t count = 1) {
  return choose_groups(
      hosts(host_count, count, bytes),
      {.partition_count = partition_count, .host_count = host_count, .bytes_min = 8 * kMiB});
}

std::uint32_t depth_of(const std::vector<CombinedGroup>& groups) {
  std::uint32_t depth = 0;
  for (const CombinedGroup& group : groups) {
    depth = std::max(depth, group.level);
  }
  return depth;
}

TEST(CombinedGroups, AreHostsWithMuchToSpare) {
  EXPECT_THAT(choose(3, 100, kMiB, 1), IsEmpty()) << "a partial has nothing to be joined with";
  EXPECT_THAT(choose(3, 100, kMiB, 8), IsEmpty());
  const std::vector<CombinedGroup> groups = choose(3, 100, kMiB, 9);
  ASSERT_THAT(groups, SizeIs(3));
  EXPECT_THAT(groups[1].hosts, ElementsAre(1));
  EXPECT_EQ(groups[1].member_bytes, 9 * kMiB);
  EXPECT_FALSE(groups[1].is_left);
}

TEST(CombinedGroups, ArePairsWherePartitionsAreFewerThanHosts) {
  EXPECT_EQ(depth_of(choose(2, 1)), 0U);
  EXPECT_EQ(depth_of(choose(3, 1)), 0U) << "an owner gets two, and so it would with a pair";
  EXPECT_EQ(depth_of(choose(4, 1)), 1U);
  EXPECT_EQ(depth_of(choose(8, 1)), 2U);
  EXPECT_EQ(depth_of(choose(64, 1)), 5U);
  EXPECT_EQ(depth_of(choose(4, 4)), 0U) << "each owner gets three quarters of one";
  EXPECT_EQ(depth_of(choose(64, 64)), 0U);
  EXPECT_EQ(depth_of(choose(64, 1000)), 0U);
}

TEST(CombinedGroups, AreNoPairsWherePartialsAreSmall) {
  EXPECT_THAT(choose(64, 1, kMiB / 8), IsEmpty());
  EXPECT_EQ(depth_of(choose(64, 1, kMiB)), 2U) << "the first levels spare most";
}

TEST(CombinedGroups, ArePairsOfAllHostsAsTheirLeaves) {
  std::vector<PartialsOfHost> some = hosts(5, 1, 64 * kMiB);
  some[2].host = 7;
  some[3].host = 8;
  some[4].host = 9;
  const std::vector<CombinedGroup> groups =
      choose_groups(some, {.partition_count = 1, .host_count = 10, .bytes_min = 1});
  ASSERT_THAT(groups, SizeIs(7)) << "another level would not pay";
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(groups[i].is_left) << "of one partial";
    EXPECT_THAT(groups[i].hosts, ElementsAre(some[i].host));
  }
  EXPECT_THAT(groups[5].hosts, ElementsAre(0, 1));
  EXPECT_THAT(groups[6].hosts, ElementsAre(7, 8));
  EXPECT_EQ(groups[0].parent, 5U);
  EXPECT_EQ(groups[3].parent, 6U);
  EXPECT_EQ(groups[4].parent, CombinedGroup::kNone) << "the fifth has no other";
  EXPECT_EQ(groups[6].in_words(), "2 hosts from 7 to 8");
  EXPECT_EQ(groups[4].in_words(), "host 9");
}

TEST(CombinedGroups, AreNoPairsWhereTheirUnitsWouldBeTooMany) {
  const auto count_with = [](std::uint64_t unit_count_max) {
    return choose_groups(hosts(8, 9, 64 * kMiB), {.partition_count = 2,
                                                  .host_count = 8,
                                                  .bytes_min = 8 * kMiB,
                                                  .unit_count_max = unit_count_max})
        .size();
  };
  EXPECT_EQ(count_with(24), 12U);
  EXPECT_EQ(count_with(23), 8U) << "hosts alone";
  EXPECT_EQ(count_with(15), 0U);
}

TEST(CombinedGroups, AreNoneWhereMoreIsAskedForThanThereIs) {
  for (const std::uint64_t bytes : {std::uint64_t{1} << 62U, ~std::uint64_t{0}}) {
    EXPECT_THAT(choose_groups(hosts(4, 9, 64 * kMiB),
                              {.partition_count = 1, .host_count = 4, .bytes_min = bytes}),
                IsEmpty());
  }
}

TEST(CombinedGroups, AreSharedByTheirHosts) {
  const std::vector<CombinedGroup> groups = choose(16, 4);
  ASSERT_EQ(depth_of(groups), 2U);
  for (const CombinedGroup& group : groups) {
    std::set<std::uint32_t> used;
    for (std::uint32_t partition = 0; partition < 4; ++partition) {
      const std::uint32_t host = host_for(groups, group, partition);
      EXPECT_THAT(group.hosts, testing::Contains(host));
      used.insert(host);
      if (group.level > 0) {
        const auto holds_it = [&](std::uint32_t child) {
          return host_for(groups, groups[child], partition) == host;
        };
        EXPECT_TRUE(holds_it(group.children[0]) || holds_it(group.children[1]));
      }
    }
    EXPECT_EQ(used.size(), std::min<std::size_t>(group.hosts.size(), 4));
  }
}

}  // namespace
}  // namespace pinion::protocol
