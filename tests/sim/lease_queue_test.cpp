// The queue against a list that is searched from its beginning for each grant.

#include "protocol/lease_queue.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

namespace pinion::protocol {
namespace {

constexpr std::uint32_t kRankCount = 4;

TEST(PositionSet, FindsItsMembersInOrder) {
  for (const std::uint32_t limit : {0U, 1U, 64U, 65U, 4096U, 4097U, 300'000U}) {
    PositionSet set(limit);
    EXPECT_EQ(set.next(0), limit);
    std::set<std::uint32_t> expected;
    for (std::uint32_t member = 0; member < limit; member += 1 + member / 3) {
      set.insert(member);
      expected.insert(member);
    }
    for (std::uint32_t member = 0; member < limit; member += 1 + member / 2) {
      set.erase(member);
      expected.erase(member);
    }
    std::vector<std::uint32_t> found;
    for (std::uint32_t at = set.next(0); at < limit; at = set.next(at + 1)) {
      EXPECT_TRUE(set.contains(at));
      found.push_back(at);
    }
    EXPECT_THAT(found, testing::ElementsAreArray(expected));
  }
}

TEST(PositionSet, GivesMembersThatFollowEachOther) {
  for (const std::uint32_t limit : {0U, 1U, 63U, 64U, 65U, 4096U, 4097U, 300'000U}) {
    PositionSet set(limit);
    set.fill();
    std::set<std::uint32_t> missing;
    for (std::uint32_t member = 0; member < limit; member += 1 + member / 3) {
      set.erase(member);
      missing.insert(member);
    }
    std::vector<std::uint32_t> taken;
    for (std::uint64_t count_max = 1;; ++count_max) {
      const PositionSet::Run run = set.take(0, count_max);
      if (run.count == 0) {
        break;
      }
      EXPECT_LE(run.count, count_max);
      for (std::uint32_t at = run.begin; at < run.begin + run.count; ++at) {
        taken.push_back(at);
      }
    }
    std::vector<std::uint32_t> expected;
    for (std::uint32_t member = 0; member < limit; ++member) {
      if (!missing.contains(member)) {
        expected.push_back(member);
      }
    }
    EXPECT_EQ(taken, expected);
    EXPECT_EQ(set.next(0), limit);
  }
}

TEST(LeaseQueue, KeepsAShardInLessThanSixtyFourBytes) {
  constexpr std::uint32_t kCount = 1'000'000;
  std::vector<UnitTraits> units(kCount);
  for (std::uint32_t unit = 0; unit < kCount; ++unit) {
    units[unit] = {.weight = unit % 977,
                   .place = {.index = static_cast<std::uint16_t>(unit % 2), .host = unit % 97},
                   .priority = static_cast<Priority>(unit % 3)};
  }
  LeaseQueue queue(units, kRankCount);
  queue.put_all();
  EXPECT_LE(queue.memory_bytes(), std::size_t{24} * kCount);
  // With the index that only what went wrong needs.
  static_cast<void>(queue.position_of(0));
  EXPECT_LE(queue.memory_bytes(), std::size_t{64} * kCount);
}

/// What the queue promises, without any of its structures.
class NaiveQueue {
 public:
  NaiveQueue(const std::vector<UnitTraits>& units, bool keeps_to_hosts)
      : units_(units), keeps_to_hosts_(keeps_to_hosts) {
    for (std::uint32_t unit = 0; unit < units.size(); ++unit) {
      waiting_.insert(unit);
    }
  }

  void put(std::uint32_t unit) { waiting_.insert(unit); }
  void remove(std::uint32_t unit) { waiting_.erase(unit); }
  [[nodiscard]] const std::set<std::uint32_t>& waiting() const { return waiting_; }

  /// What matters in the choice among units for a rank at `places`, the least first: its priority,
  /// then how near it is. Those of one place are in the order of weight and number.
  [[nodiscard]] std::pair<int, int> rank_of(std::uint32_t unit,
                                            const std::vector<Place>& places) const {
    const UnitTraits& traits = units_[unit];
    const int level = traits.priority == Priority::kHigh     ? 0
                      : traits.priority == Priority::kNormal ? 1
                                                             : 2;
    const bool own = std::find(places.begin(), places.end(), traits.place) != places.end();
    const bool host = std::any_of(places.begin(), places.end(), [&](const Place& place) {
      return place.host == traits.place.host;
    });
    return {level, own ? 0 : host ? 1 : 2};
  }

  [[nodiscard]] bool may_run(std::uint32_t unit, const std::vector<Place>& places) const {
    if (keeps_to_hosts_ && rank_of(unit, places).second == 2) {
      return false;
    }
    return !units_[unit].needs_device ||
           std::any_of(places.begin(), places.end(),
                       [](const Place& place) { return place.kind == PlaceKind::kDevice; });
  }

  /// Whether the unit is one that a rank at `places` may be given next.
  [[nodiscard]] bool is_next(std::uint32_t unit, const std::vector<Place>& places) const {
    if (!waiting_.contains(unit) || !may_run(unit, places)) {
      return false;
    }
    return std::none_of(waiting_.begin(), waiting_.end(), [&](std::uint32_t other) {
      if (!may_run(other, places)) {
        return false;
      }
      if (rank_of(other, places) != rank_of(unit, places)) {
        return rank_of(other, places) < rank_of(unit, places);
      }
      const UnitTraits& a = units_[other];
      const UnitTraits& b = units_[unit];
      return a.place == b.place && a.needs_device == b.needs_device &&
             (a.weight != b.weight ? a.weight > b.weight : other < unit);
    });
  }

 private:
  const std::vector<UnitTraits>& units_;
  bool keeps_to_hosts_;
  std::set<std::uint32_t> waiting_;
};

Place random_place() {
  return {.kind = *rc::gen::inRange(0, 3) == 0 ? PlaceKind::kDevice : PlaceKind::kNuma,
          .index = *rc::gen::inRange<std::uint16_t>(0, 2),
          .host = *rc::gen::inRange<std::uint32_t>(0, 3)};
}

std::vector<UnitTraits> random_units() {
  std::vector<UnitTraits> units(*rc::gen::inRange<std::size_t>(0, 150));
  for (UnitTraits& unit : units) {
    unit.weight = *rc::gen::inRange<std::uint64_t>(0, 5) << *rc::gen::element(0, 7, 8, 30, 61);
    unit.place = random_place();
    unit.priority = static_cast<Priority>(*rc::gen::inRange(0, 3));
    unit.needs_device = unit.place.kind == PlaceKind::kDevice && *rc::gen::arbitrary<bool>();
  }
  return units;
}

RC_GTEST_PROP(LeaseQueueModel, GrantsWhatASearchOfTheWholeListFinds, ()) {
  const std::vector<UnitTraits> units = random_units();
  LeaseQueue queue(units, kRankCount);
  queue.put_all();
  const auto keeps_to_hosts = *rc::gen::arbitrary<bool>();
  if (keeps_to_hosts) {
    queue.keep_to_hosts();
  }
  NaiveQueue naive(units, keeps_to_hosts);
  std::vector<std::vector<Place>> places(kRankCount);
  for (std::uint32_t rank = 0; rank < kRankCount; ++rank) {
    for (int i = *rc::gen::inRange(0, 3); i > 0; --i) {
      places[rank].push_back(random_place());
    }
    queue.set_places(rank, places[rank]);
  }
  std::vector<std::uint32_t> taken;  // Positions.
  LeaseQueue::TakenFrom from;
  std::uint32_t rank_of_grant = kRankCount;  // None is under way.
  const auto action_count = *rc::gen::inRange<std::size_t>(0, 400);
  for (std::size_t i = 0; i < action_count; ++i) {
    const auto action = *rc::gen::inRange(0, 10);
    if (action < 7) {
      if (rank_of_grant == kRankCount || *rc::gen::arbitrary<bool>()) {
        rank_of_grant = *rc::gen::inRange<std::uint32_t>(0, kRankCount);
        from = {};
      }
      const std::uint32_t rank = rank_of_grant;
      const auto count_max = *rc::gen::inRange<std::uint64_t>(1, 20);
      const PositionSet::Run run = queue.take(rank, from, count_max);
      RC_ASSERT(run.count <= count_max);
      if (run.count == 0) {
        for (const std::uint32_t unit : naive.waiting()) {
          RC_ASSERT(!naive.may_run(unit, places[rank]));
        }
        continue;
      }
      for (std::uint32_t position = run.begin; position < run.begin + run.count; ++position) {
        const std::uint32_t unit = queue.unit_at(position);
        RC_ASSERT(queue.may_run(rank, position));
        RC_ASSERT(naive.is_next(unit, places[rank]));
        naive.remove(unit);
        taken.push_back(position);
      }
    } else if (action < 9 && !taken.empty()) {
      const auto at = *rc::gen::inRange<std::size_t>(0, taken.size());
      queue.put(taken[at]);
      rank_of_grant = kRankCount;
      naive.put(queue.unit_at(taken[at]));
      taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(at));
    } else if (!naive.waiting().empty()) {
      const std::uint32_t position = queue.position_of(*naive.waiting().rbegin());
      naive.remove(queue.unit_at(position));
      queue.remove(position);
      taken.push_back(position);
    }
    RC_ASSERT(queue.waiting_count() == naive.waiting().size());
  }
}

}  // namespace
}  // namespace pinion::protocol
