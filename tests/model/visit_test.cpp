#include "visit.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "atom.hpp"
#include "explorer.hpp"

namespace pinion {
namespace {

using model::Atom;
using model::block_until;
using model::Exploration;
using model::Explorer;
using model::Program;
using model::require;

// The lock of a run.
class Lock {
 public:
  void lock() {
    int free = 0;
    do {
      block_until([this] { return taken_.load() == 0; });
      free = 0;
    } while (!taken_.compare_exchange_strong(free, 1));
  }
  void unlock() { taken_.store(0); }

 private:
  Atom<int> taken_ = 0;
};

// The parts as they are; a mutant replaces some.
struct Right {
  using Door = LaneDoor<Atom>;
  using Strands = pinion::Strands<Atom>;
  static constexpr bool kLocksToTake = true;
  static constexpr bool kCallsAfterOpening = true;
  static constexpr bool kLooksAfterLeaving = true;
  static constexpr bool kHoldsFirst = true;
};

Exploration explore(std::size_t preemptions, const std::function<Program()>& make_program) {
  return Explorer({.preemption_count_max = preemptions}).explore(make_program);
}

void expect_right(const Exploration& exploration) {
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
  EXPECT_GT(exploration.schedule_count, 500u);
}

// Senders from outside, and the workers of a place with as many lanes. A worker that nobody calls
// sleeps, so that a forgotten task leaves bodies that cannot go on, which the explorer reports.
template <class Protocol>
class Place {
 public:
  Place(std::size_t lane_count, std::uint32_t task_count, bool is_shut)
      : lanes_(lane_count), runs_(task_count) {
    inbox_.reset(is_shut);
  }

  // Of the run that turns to counting, or is cancelled.
  void open() {
    lock_.lock();
    const bool is_filled = inbox_.open();
    lock_.unlock();
    if (is_filled && Protocol::kCallsAfterOpening) {
      calls_.fetch_add(1);
    }
  }

  void send(std::uint32_t task) {
    lock_.lock();
    const bool is_first = inbox_.put(task);
    lock_.unlock();
    if (is_first) {
      calls_.fetch_add(1);
    }
  }

  void work(std::size_t worker) {
    for (;;) {
      block_until([this] { return calls_.load() > 0 || all_ran(); });
      int calls = calls_.load();
      while (calls > 0 && !calls_.compare_exchange_strong(calls, calls - 1)) {
      }
      if (calls > 0) {
        visit(worker);
      } else if (all_ran()) {
        return;
      }
    }
  }

  void check() {
    for (const int runs : runs_) {
      require(runs == 1, "a task ran " + std::to_string(runs) + " times");
    }
    require(inbox_.empty(), "something is left in the inbox");
    for (Lane& lane : lanes_) {
      require(lane.door.enter(), "a door is shut at the end");
      require(!lane.is_used, "a lane is used at the end");
    }
  }

 private:
  struct Lane {
    typename Protocol::Door door;
    ReadyList ready;
    bool is_used = false;
  };

  [[nodiscard]] bool all_ran() const { return run_count_.load() == runs_.size(); }

  void visit(std::size_t worker) {
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      Lane& lane = lanes_[(worker + i) % lanes_.size()];
      if (lane.door.enter()) {
        do {
          use(lane);
        } while (!lane.door.leave(inbox_));
        return;
      }
    }
  }

  void use(Lane& lane) {
    require(!std::exchange(lane.is_used, true), "two visits are in one lane");
    while (!inbox_.empty()) {
      if (Protocol::kLocksToTake) {
        lock_.lock();
      }
      inbox_.take(lane.ready);
      if (Protocol::kLocksToTake) {
        lock_.unlock();
      }
      while (!lane.ready.empty()) {
        ++runs_[lane.ready.pop()];
        run_count_.fetch_add(1);
      }
    }
    lane.is_used = false;
  }

  Inbox<Atom> inbox_;
  std::vector<Lane> lanes_;
  Lock lock_;
  Atom<int> calls_ = 0;
  Atom<std::size_t> run_count_ = 0;
  std::vector<int> runs_;
};

// Each of two senders sends `tasks_each`. The inbox is opened meanwhile if it `is_shut`.
template <class Protocol>
Exploration explore_place(std::size_t workers, std::size_t lanes, std::uint32_t tasks_each,
                          std::size_t preemptions, bool is_shut = false) {
  return explore(preemptions, [=] {
    const auto place = std::make_shared<Place<Protocol>>(lanes, 2 * tasks_each, is_shut);
    Program program{.check = [place] { place->check(); }};
    if (is_shut) {
      program.bodies.push_back([=] { place->open(); });
    }
    for (std::uint32_t sender = 0; sender < 2; ++sender) {
      program.bodies.push_back([=] {
        for (std::uint32_t i = 0; i < tasks_each; ++i) {
          place->send(sender * tasks_each + i);
        }
      });
    }
    for (std::size_t worker = 0; worker < workers; ++worker) {
      program.bodies.push_back([=] { place->work(worker); });
    }
    return program;
  });
}

TEST(InboxModel, BringsEveryTaskToAWorker) {
  expect_right(explore_place<Right>(/*workers=*/1, /*lanes=*/1, /*tasks_each=*/1, 3));
  expect_right(explore_place<Right>(/*workers=*/2, /*lanes=*/1, /*tasks_each=*/1, 2));
  expect_right(explore_place<Right>(/*workers=*/2, /*lanes=*/2, /*tasks_each=*/1, 2));
  expect_right(explore_place<Right>(/*workers=*/1, /*lanes=*/1, /*tasks_each=*/2, 2));
}

TEST(InboxModel, BringsWhatCameBeforeItWasOpenedToAWorker) {
  expect_right(explore_place<Right>(/*workers=*/1, /*lanes=*/1, /*tasks_each=*/1, 2, true));
  expect_right(explore_place<Right>(/*workers=*/2, /*lanes=*/2, /*tasks_each=*/1, 1, true));
}

struct OpensWithoutACall : Right {
  static constexpr bool kCallsAfterOpening = false;
};

TEST(InboxModel, FindsTheTaskThatIsForgottenWhenNobodyIsCalledAfterOpening) {
  EXPECT_EQ(explore_place<OpensWithoutACall>(1, 1, 1, 2, true).failure.find("no body can go on"),
            0u);
}

class DoorThatIsLeftWithoutALook : public LaneDoor<Atom> {
 public:
  [[nodiscard]] bool leave(const Inbox<Atom>& /*inbox*/) { return LaneDoor::leave(Inbox<Atom>()); }
};

struct LeavesWithoutALook : Right {
  using Door = DoorThatIsLeftWithoutALook;
};

TEST(InboxModel, FindsTheTaskThatIsForgottenWithoutALookAfterLeaving) {
  EXPECT_EQ(explore_place<LeavesWithoutALook>(2, 1, 1, 3).failure.find("no body can go on"), 0u);
}

class DoorThatLooksFirst : public LaneDoor<Atom> {
 public:
  [[nodiscard]] bool leave(const Inbox<Atom>& inbox) {
    return inbox.empty() && LaneDoor::leave(Inbox<Atom>());
  }
};

struct LooksBeforeLeaving : Right {
  using Door = DoorThatLooksFirst;
};

TEST(InboxModel, FindsTheTaskThatIsForgottenWhenTheLookComesFirst) {
  EXPECT_EQ(explore_place<LooksBeforeLeaving>(2, 1, 1, 3).failure.find("no body can go on"), 0u);
}

class DoorForTwo : public LaneDoor<Atom> {
 public:
  [[nodiscard]] bool leave(const Inbox<Atom>& inbox) {
    return LaneDoor::leave(Inbox<Atom>()) && inbox.empty();
  }
};

struct ComesBackUnasked : Right {
  using Door = DoorForTwo;
};

TEST(InboxModel, FindsTheVisitThatComesBackIntoALaneOfAnother) {
  EXPECT_EQ(explore_place<ComesBackUnasked>(2, 1, 1, 3).failure.find("two visits are in one lane"),
            0u);
}

struct TakesWithoutTheLock : Right {
  static constexpr bool kLocksToTake = false;
};

TEST(InboxModel, FindsTheTaskThatIsTakenAwayUnseenWithoutTheLock) {
  const Exploration exploration = explore_place<TakesWithoutTheLock>(1, 1, 1, 3);
  EXPECT_NE(exploration.failure, "");
}

// The end of a run that is cancelled while visits are in it, or come, and a task may be held until
// somebody outside lets it go on. What a visit does with its lane is the touching of it.
template <class Protocol>
class CancelledRun {
 public:
  explicit CancelledRun(std::uint32_t task_count) : ready_count_(task_count) {
    open_tasks_.reset(task_count);
  }

  // Runs tasks while there are some, or finds none, as those of another lane are not offered.
  void visit(bool finds_tasks, bool holds = false) {
    if (!strands_.enter()) {
      return;
    }
    std::uint32_t left = finds_tasks ? ready_count_.load() : 0;
    while (left > 0 && cancelled_.load() == 0) {
      if (ready_count_.compare_exchange_strong(left, left - 1)) {
        touch("a task began after the end");
        std::exchange(holds, false) ? hold_task() : end_task();
        left = ready_count_.load();
      }
    }
    leave();
  }

  // Whoever signals from outside, and the visit that he calls.
  void let_go_on() {
    block_until([this] { return held_.load() > 0 || end_count_.load() > 0; });
    if (held_.load() > 0) {
      require(strands_.enter(), "the run was closed while a task was held");
      strands_.go_on();
      touch("a task went on after the end");
      end_task();
      leave();
    }
  }

  void cancel() { cancelled_.store(1); }

  void check() {
    require(end_count_.load() == 1,
            "the run ended " + std::to_string(end_count_.load()) + " times");
  }

 private:
  void hold_task() {
    if (Protocol::kHoldsFirst) {
      strands_.hold();
      held_.store(1);
    } else {
      held_.store(1);
      strands_.hold();
    }
  }

  void end_task() {
    if (open_tasks_.end(1)) {
      strands_.close();
      end_count_.fetch_add(1);
    }
  }

  void leave() {
    require(dropped_.load() == 0, "a lane was used after the end");
    const bool early = cancelled_.load() != 0;
    if (strands_.leave() && (Protocol::kLooksAfterLeaving ? cancelled_.load() != 0 : early) &&
        strands_.close_empty()) {
      dropped_.store(1);
      end_count_.fetch_add(1);
    }
  }

  void touch(const char* words) { require(end_count_.load() == 0, words); }

  typename Protocol::Strands strands_;
  OpenTasks<Atom> open_tasks_;
  Atom<std::uint32_t> ready_count_;
  Atom<int> cancelled_ = 0;
  Atom<int> held_ = 0;
  Atom<int> dropped_ = 0;  // It ended without its last tasks.
  Atom<int> end_count_ = 0;
};

// One visit that may hold a task, one that comes after the cancellation, and one that finds nothing
// or whoever lets the task go on.
template <class Protocol>
Exploration explore_cancelled(std::uint32_t tasks, bool holds, std::size_t preemptions) {
  return explore(preemptions, [=] {
    const auto run = std::make_shared<CancelledRun<Protocol>>(tasks);
    return Program{.bodies = {[=] { run->visit(/*finds_tasks=*/true, holds); },
                              [=] {
                                run->cancel();
                                run->visit(/*finds_tasks=*/true);
                              },
                              [=] { holds ? run->let_go_on() : run->visit(false); }},
                   .check = [=] { run->check(); }};
  });
}

TEST(StrandsModel, EndACancelledRunOnceAndAfterEverybody) {
  expect_right(explore_cancelled<Right>(/*tasks=*/1, /*holds=*/false, 4));
  expect_right(explore_cancelled<Right>(/*tasks=*/3, /*holds=*/false, 3));
}

TEST(StrandsModel, WaitForATaskThatIsHeld) {
  expect_right(explore_cancelled<Right>(/*tasks=*/1, /*holds=*/true, 4));
  expect_right(explore_cancelled<Right>(/*tasks=*/2, /*holds=*/true, 3));
}

struct LooksBeforeItLeaves : Right {
  static constexpr bool kLooksAfterLeaving = false;
};

TEST(StrandsModel, FindTheRunThatNobodyEnds) {
  const Exploration exploration = explore_cancelled<LooksBeforeItLeaves>(3, false, 3);
  EXPECT_EQ(exploration.failure.find("the run ended 0 times"), 0u) << exploration.failure;
}

struct HoldsTooLate : Right {
  static constexpr bool kHoldsFirst = false;
};

TEST(StrandsModel, FindTheTaskThatGoesOnBeforeItIsHeld) {
  const Exploration exploration = explore_cancelled<HoldsTooLate>(2, true, 3);
  EXPECT_NE(exploration.failure.find("after the end"), std::string::npos) << exploration.failure;
}

class StrandsThatLetEverybodyIn : public Strands<Atom> {
 public:
  [[nodiscard]] bool enter() {
    static_cast<void>(Strands::enter());
    return true;
  }
};

struct LetsEverybodyIn : Right {
  using Strands = StrandsThatLetEverybodyIn;
};

TEST(StrandsModel, FindTheVisitThatComesAfterTheEnd) {
  const Exploration exploration = explore_cancelled<LetsEverybodyIn>(3, false, 3);
  EXPECT_EQ(exploration.failure.find("a lane was used after the end"), 0u) << exploration.failure;
}

// Closes what was empty a moment ago.
class StrandsThatCloseBlindly : public Strands<Atom> {
 public:
  [[nodiscard]] bool close_empty() {
    Strands::close();
    return true;
  }
};

struct ClosesBlindly : Right {
  using Strands = StrandsThatCloseBlindly;
};

TEST(StrandsModel, FindTheRunThatIsClosedUnderAVisit) {
  const Exploration exploration = explore_cancelled<ClosesBlindly>(3, false, 3);
  EXPECT_NE(exploration.failure, "");
}

}  // namespace
}  // namespace pinion
