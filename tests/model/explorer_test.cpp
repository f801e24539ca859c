#include "explorer.hpp"

#include <array>
#include <memory>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "atom.hpp"

namespace pinion::model {
namespace {

// Each of two bodies appends its letter twice: 4! / (2! * 2!) orders.
TEST(Explorer, TriesEveryInterleaving) {
  std::set<std::string> orders;
  const Exploration exploration = Explorer({}).explore([&orders] {
    struct Shared {
      Atom<int> atom = 0;
      std::string order;
    };
    const auto shared = std::make_shared<Shared>();
    const auto append_twice = [shared](char letter) {
      for (int i = 0; i < 2; ++i) {
        shared->atom.store(0);
        shared->order += letter;
      }
    };
    return Program{
        .bodies = {[append_twice] { append_twice('a'); }, [append_twice] { append_twice('b'); }},
        .check = [&orders, shared] { orders.insert(shared->order); }};
  });
  EXPECT_TRUE(exploration.complete);
  EXPECT_EQ(exploration.failure, "");
  EXPECT_EQ(orders, (std::set<std::string>{"aabb", "abab", "abba", "baab", "baba", "bbaa"}));
}

// The classic: both read, then both write.
Program make_counter_program(bool is_atomic) {
  const auto counter = std::make_shared<Atom<int>>(0);
  const auto increment = [counter, is_atomic] {
    if (is_atomic) {
      counter->fetch_add(1);
    } else {
      counter->store(counter->load() + 1);
    }
  };
  return Program{.bodies = {increment, increment},
                 .check = [counter] { require(counter->load() == 2, "an increment was lost"); }};
}

TEST(Explorer, FindsALostUpdateAndNamesItsSchedule) {
  const Exploration exploration =
      Explorer({}).explore([] { return make_counter_program(/*is_atomic=*/false); });
  EXPECT_EQ(exploration.failure.find("an increment was lost in schedule 0"), 0u)
      << exploration.failure;
}

TEST(Explorer, AcceptsTheAtomicUpdate) {
  const Exploration exploration =
      Explorer({}).explore([] { return make_counter_program(/*is_atomic=*/true); });
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
  EXPECT_GE(exploration.schedule_count, 2u);
}

TEST(Explorer, MissesTheLostUpdateWithoutPreemptions) {
  const Exploration exploration = Explorer({.preemption_count_max = 0}).explore([] {
    return make_counter_program(/*is_atomic=*/false);
  });
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
}

TEST(Explorer, StopsAtTheBoundOnSchedules) {
  const Exploration exploration = Explorer({.schedule_count_max = 1}).explore([] {
    return make_counter_program(/*is_atomic=*/true);
  });
  EXPECT_FALSE(exploration.complete);
  EXPECT_EQ(exploration.schedule_count, 1u);
}

TEST(Explorer, LetsABlockedBodyGoOnWhenItsConditionHolds) {
  const Exploration exploration = Explorer({}).explore([] {
    const auto flag = std::make_shared<Atom<int>>(0);
    return Program{.bodies = {[flag] {
                                block_until([flag] { return flag->load() == 1; });
                                require(flag->load() == 1, "it went on too early");
                              },
                              [flag] { flag->store(1); }}};
  });
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
}

TEST(Explorer, FindsADeadlock) {
  // Not owned by the bodies, which never end.
  std::array<Atom<int>, 2> locks;
  const auto take_both = [&locks](std::size_t first) {
    for (const std::size_t index : {first, 1 - first}) {
      int free = 0;
      while (!locks[index].compare_exchange_strong(free, 1)) {
        block_until([&locks, index] { return locks[index].load() == 0; });
        free = 0;
      }
    }
    locks[0].store(0);
    locks[1].store(0);
  };
  const Exploration exploration = Explorer({}).explore([&take_both] {
    return Program{.bodies = {[&take_both] { take_both(0); }, [&take_both] { take_both(1); }}};
  });
  EXPECT_EQ(exploration.failure.find("no body can go on"), 0u) << exploration.failure;
}

TEST(Explorer, FindsABodyThatSpins) {
  const Exploration exploration = Explorer({.operation_count_max = 100}).explore([] {
    const auto flag = std::make_shared<Atom<int>>(0);
    return Program{.bodies = {[flag] {
                     while (flag->load() == 0) {
                     }
                   }}};
  });
  EXPECT_EQ(exploration.failure.find("the bodies do not end"), 0u) << exploration.failure;
}

}  // namespace
}  // namespace pinion::model
