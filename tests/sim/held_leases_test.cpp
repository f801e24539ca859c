#include "protocol/held_leases.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace pinion::protocol {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

Lease lease(std::uint64_t unit, std::uint64_t counter) {
  return {.unit = unit, .fence = {.epoch = 1, .counter = counter}};
}

Instant at(int seconds) {
  return Instant(std::chrono::seconds(seconds));
}

std::vector<Lease> listed(const HeldLeases& held) {
  std::vector<Lease> leases;
  held.list(leases);
  return leases;
}

std::vector<Lease> overdue(const HeldLeases& held, Instant now) {
  std::vector<Lease> leases;
  held.find_overdue(now, leases);
  return leases;
}

TEST(HeldLeases, AreListedInTheOrderOfTheirGrants) {
  HeldLeases held;
  held.add({lease(7, 1), lease(3, 2)}, at(10));
  held.add({lease(5, 3)}, at(11));
  EXPECT_THAT(listed(held), ElementsAre(lease(7, 1), lease(3, 2), lease(5, 3)));
  EXPECT_EQ(held.soonest(), at(10));
  held.remove({lease(7, 1), lease(3, 2), lease(3, 9)});
  EXPECT_THAT(listed(held), ElementsAre(lease(5, 3)));
  EXPECT_EQ(held.soonest(), at(11));
}

TEST(HeldLeases, AreRemovedTogetherOrNotAtAll) {
  HeldLeases held;
  held.add({lease(0, 1), lease(1, 2), lease(2, 3)}, at(10));
  EXPECT_FALSE(held.remove_if_all_held({lease(0, 1), lease(1, 5)}));
  EXPECT_EQ(held.size(), 3U);
  EXPECT_TRUE(held.remove_if_all_held({lease(2, 3), lease(0, 1)}));
  EXPECT_THAT(listed(held), ElementsAre(lease(1, 2)));
  EXPECT_FALSE(held.remove_if_all_held({lease(0, 1)}));
}

TEST(HeldLeases, AreFoundAmongMany) {
  // The last worker is slow, so what it holds lies far behind what the others report.
  constexpr std::size_t kWorkerCount = 5;
  constexpr std::size_t kBatchSize = 16;
  HeldLeases held;
  std::vector<std::vector<Lease>> batches(kWorkerCount);
  std::map<std::uint64_t, Lease> expected;
  for (std::uint64_t counter = 1; counter <= 3000; ++counter) {
    held.add({lease(counter, counter)}, at(10));
    expected[counter] = lease(counter, counter);
    std::vector<Lease>& batch =
        batches[counter % 40 == 0 ? kWorkerCount - 1 : counter % (kWorkerCount - 1)];
    batch.push_back(expected[counter]);
    if (batch.size() < kBatchSize) {
      continue;
    }
    ASSERT_TRUE(held.remove_if_all_held(batch));
    ASSERT_FALSE(held.remove_if_all_held(batch));
    for (const Lease& reported : batch) {
      expected.erase(reported.unit);
    }
    batch.clear();
    std::vector<Lease> left;
    for (const auto& [unit, one] : expected) {
      ASSERT_TRUE(held.holds(one));
      left.push_back(one);
    }
    ASSERT_EQ(listed(held), left);
  }
}

TEST(HeldLeases, AreExtendedTogether) {
  HeldLeases held;
  held.add({lease(0, 1)}, at(10));
  held.add({lease(1, 2)}, at(20));
  held.extend(at(15));
  EXPECT_EQ(held.soonest(), at(15));
  EXPECT_THAT(overdue(held, at(14)), IsEmpty());
  EXPECT_THAT(overdue(held, at(15)), ElementsAre(lease(0, 1)));
  EXPECT_THAT(overdue(held, at(20)), ElementsAre(lease(0, 1), lease(1, 2)));
}

TEST(HeldLeases, LastNoLongerThanOneThatIsGrantedByAClockThatWentBack) {
  HeldLeases held;
  held.add({lease(0, 1)}, at(100));
  held.extend(at(105));
  held.add({lease(1, 2)}, at(50));
  EXPECT_THAT(overdue(held, at(50)), ElementsAre(lease(0, 1), lease(1, 2)));
}

TEST(HeldLeases, TakeAGrantThatWasOvertakenAndOneThatCameTwice) {
  HeldLeases held;
  held.add({lease(4, 9)}, at(12));
  held.add({lease(6, 5), lease(6, 5)}, at(12));
  EXPECT_THAT(listed(held), ElementsAre(lease(6, 5), lease(4, 9)));
  EXPECT_TRUE(held.remove_if_all_held({lease(6, 5), lease(4, 9)}));
  EXPECT_TRUE(held.empty());
}

/// What HeldLeases must do, without any of its order.
class NaiveHeld {
 public:
  void add(const Lease& lease, Instant until) {
    for (Item& item : items_) {
      item.until = std::min(item.until, until);
    }
    items_.push_back({lease, until});
  }
  void extend(Instant until) {
    for (Item& item : items_) {
      item.until = std::max(item.until, until);
    }
  }
  void remove(const Lease& lease) {
    std::erase_if(items_, [&](const Item& item) { return item.lease == lease; });
  }
  [[nodiscard]] bool holds(const Lease& lease) const {
    return std::any_of(items_.begin(), items_.end(),
                       [&](const Item& item) { return item.lease == lease; });
  }
  [[nodiscard]] std::vector<Lease> overdue(Instant now) const {
    std::vector<Lease> leases;
    for (const Item& item : items_) {
      if (item.until <= now) {
        leases.push_back(item.lease);
      }
    }
    return leases;
  }
  [[nodiscard]] Instant soonest() const {
    return std::min_element(items_.begin(), items_.end(),
                            [](const Item& a, const Item& b) { return a.until < b.until; })
        ->until;
  }

 private:
  struct Item {
    Lease lease;
    Instant until;
  };
  std::vector<Item> items_;
};

RC_GTEST_PROP(HeldLeasesModel, FindWhatASearchOfAllFinds, ()) {
  HeldLeases held;
  NaiveHeld naive;
  Instant now = at(1000);
  std::uint64_t granted_count = 0;
  std::vector<Lease> known;
  const auto action_count = *rc::gen::inRange<std::size_t>(0, 120);
  for (std::size_t i = 0; i < action_count; ++i) {
    now += Duration(*rc::gen::inRange<std::int64_t>(-1, 4));
    const auto action = *rc::gen::inRange(0, 6);
    if (action < 2) {
      std::vector<Lease> leases;
      for (int count = *rc::gen::inRange(1, 40); count > 0; --count) {
        leases.push_back(lease(*rc::gen::inRange<std::uint64_t>(0, 9), ++granted_count));
        naive.add(leases.back(), now + 10ns);
      }
      held.add(leases, now + 10ns);
      known.insert(known.end(), leases.begin(), leases.end());
    } else if (action == 2) {
      const Instant until = now + Duration(*rc::gen::inRange<std::int64_t>(0, 10));
      held.extend(until);
      naive.extend(until);
    } else if (!known.empty()) {
      std::vector<Lease> batch;
      bool all = true;
      const std::size_t stride = *rc::gen::inRange<std::size_t>(1, 5);
      for (auto from = *rc::gen::inRange<std::size_t>(0, known.size());
           from < known.size() && batch.size() < 8; from += stride) {
        batch.push_back(known[from]);
        all = all && naive.holds(known[from]);
        RC_ASSERT(held.holds(known[from]) == naive.holds(known[from]));
      }
      if (action == 3) {
        RC_ASSERT(held.remove_if_all_held(batch) == all);
      } else {
        held.remove(batch);
        all = true;
      }
      for (const Lease& removed : batch) {
        if (all) {
          naive.remove(removed);
        }
      }
    }
    const std::vector<Lease> expected = naive.overdue(now + 1h);
    RC_ASSERT(listed(held) == expected);
    RC_ASSERT(held.size() == expected.size());
    RC_ASSERT(overdue(held, now) == naive.overdue(now));
    if (!expected.empty()) {
      RC_ASSERT(held.soonest() == naive.soonest());
    }
  }
}

}  // namespace
}  // namespace pinion::protocol
