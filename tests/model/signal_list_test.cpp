#include <pinion/core/detail/signal_list.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "atom.hpp"
#include "explorer.hpp"

namespace pinion {
namespace {

using model::Exploration;
using model::Explorer;
using model::Program;
using model::require;

constexpr int kOutcome = 7;

// Bodies that attach against one that signals. `List` is the subject or a mutant of it.
template <class List>
struct Scene {
  struct Waiter : List::Waiter {
    int handed_out = 0;
    int seen = 0;
  };

  explicit Scene(std::size_t waiter_count) : waiters(waiter_count) {}

  void attach(std::size_t index) {
    if (!list.attach(waiters[index])) {
      require(list.signalled(), "attach said no before the signal");
      hand_out(waiters[index]);
    }
  }

  void signal() {
    outcome = kOutcome;
    for (typename List::Waiter* waiter = list.signal(); waiter != nullptr;) {
      typename List::Waiter* const next = waiter->next;
      hand_out(static_cast<Waiter&>(*waiter));
      waiter = next;
    }
  }

  void hand_out(Waiter& waiter) {
    ++waiter.handed_out;
    waiter.seen = outcome;
  }

  void check() {
    require(list.signalled(), "the signal was forgotten");
    for (const Waiter& waiter : waiters) {
      require(waiter.handed_out == 1,
              "a waiter was handed out " + std::to_string(waiter.handed_out) + " times");
      require(waiter.seen == kOutcome, "a waiter saw no outcome");
    }
  }

  List list;
  int outcome = 0;
  std::vector<Waiter> waiters;
};

// The signal, and each of `attaching` bodies with two waiters of its own.
template <class List>
Program make_program(std::size_t attaching) {
  const auto scene = std::make_shared<Scene<List>>(2 * attaching);
  Program program{.bodies = {[scene] { scene->signal(); }}, .check = [scene] { scene->check(); }};
  for (std::size_t body = 0; body < attaching; ++body) {
    program.bodies.push_back([scene, body] {
      scene->attach(2 * body);
      scene->attach(2 * body + 1);
    });
  }
  return program;
}

TEST(SignalListModel, HandsOutEveryWaiterOnceUnderAllSchedules) {
  const Exploration exploration =
      Explorer({}).explore([] { return make_program<detail::SignalList<model::Atom>>(1); });
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
  EXPECT_GT(exploration.schedule_count, 5u);
}

TEST(SignalListModel, HandsOutEveryWaiterOnceWithTwoThatAttach) {
  const Exploration exploration = Explorer({.preemption_count_max = 4}).explore([] {
    return make_program<detail::SignalList<model::Atom>>(2);
  });
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
  EXPECT_GT(exploration.schedule_count, 100u);
}

TEST(SignalListModel, ShowsTheOutcomeToWhoeverSeesTheSignal) {
  const Exploration exploration = Explorer({}).explore([] {
    const auto scene = std::make_shared<Scene<detail::SignalList<model::Atom>>>(0);
    return Program{.bodies = {[scene] { scene->signal(); },
                              [scene] {
                                const bool signalled = scene->list.signalled();
                                require(!signalled || scene->outcome == kOutcome,
                                        "the signal came before its outcome");
                                require(!signalled || scene->list.signalled(),
                                        "the signal went away");
                              }}};
  });
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
}

// The same list with the compare-exchange torn into a load and a store: the model must see it.
class TornList {
 public:
  struct Waiter {
    Waiter* next = nullptr;
  };
  bool attach(Waiter& waiter) {
    if (signalled_.load() != 0) {
      return false;
    }
    waiter.next = head_.load();
    head_.store(&waiter);
    return true;
  }
  Waiter* signal() {
    signalled_.store(1);
    return head_.exchange(nullptr);
  }
  bool signalled() const { return signalled_.load() != 0; }

 private:
  model::Atom<int> signalled_ = 0;
  model::Atom<Waiter*> head_ = nullptr;
};

TEST(SignalListModel, FindsTheWaiterThatATornListLoses) {
  const Exploration exploration = Explorer({}).explore([] { return make_program<TornList>(1); });
  EXPECT_EQ(exploration.failure.find("a waiter was handed out 0 times"), 0u) << exploration.failure;
}

}  // namespace
}  // namespace pinion
