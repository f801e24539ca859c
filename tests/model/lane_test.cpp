#include "lane.hpp"

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

// The protocol as it is; a mutant replaces one part.
struct Right {
  using Slot = OfferSlot<Atom>;
  using Calls = HelperCalls<Atom>;
  using Open = OpenTasks<Atom>;
  static constexpr bool kLooksAfterLeaving = true;
  static bool count_down(Atom<std::uint32_t>& counter, std::uint32_t position,
                         std::uint32_t& entry) {
    return pinion::count_down</*Alone=*/false>(counter, position, entry);
  }
};

struct Shape {
  std::vector<std::vector<std::uint32_t>> successors;  // By task; task 0 is the only root.
  bool first_waits_for_second = false;  // Task 1 ends only when task 2 has: both need a worker.
  std::uint32_t failing = UINT32_MAX;
};

// Two lanes, a worker each, as RunState has them. A worker that nobody calls sleeps, so that a call
// which is lost leaves bodies that cannot go on, which the explorer reports.
template <class Protocol>
class Scene {
 public:
  explicit Scene(Shape shape)
      : shape_(std::move(shape)),
        predecessors_(shape_.successors.size()),
        counters_(shape_.successors.size()),
        runs_(shape_.successors.size()),
        skips_(shape_.successors.size()) {
    for (const std::vector<std::uint32_t>& all : shape_.successors) {
      for (const std::uint32_t successor : all) {
        ++predecessors_[successor];
      }
    }
    for (std::size_t task = 0; task < counters_.size(); ++task) {
      counters_[task].store(predecessors_[task]);
    }
    open_.reset(shape_.successors.size());
    // As many helpers as a run begins with: the one that finds no root looks for offers.
    for (int lane = 0; lane < 2; ++lane) {
      helper_calls_.enter();
      calls_.fetch_add(1);
    }
  }

  void work(std::size_t lane) {
    for (;;) {
      block_until([this] { return calls_.load() > 0 || ended_count_.load() > 0; });
      int calls = calls_.load();
      while (calls > 0 && !calls_.compare_exchange_strong(calls, calls - 1)) {
      }
      if (calls > 0) {
        visit(lane);
      } else if (ended_count_.load() > 0) {
        return;
      }
    }
  }

  void check() {
    require(ended_count_.load() == 1, "the run did not end once");
    for (std::size_t task = 0; task < runs_.size(); ++task) {
      require(runs_[task] + skips_[task] == 1,
              "a task ran or was skipped " + std::to_string(runs_[task] + skips_[task]) + " times");
      require(counters_[task].load() == predecessors_[task], "a counter is not armed");
    }
    for (const auto& slot : slots_) {
      require(slot.empty(), "an offer was left behind");
    }
    require(helper_calls_.call(), "somebody counts as looking at the end");
    if (shape_.failing != UINT32_MAX) {
      for (const std::uint32_t successor : shape_.successors[shape_.failing]) {
        require(skips_[successor] == 1, "a successor of a failure was not skipped");
      }
    }
  }

 private:
  void visit(std::size_t lane) {
    if (root_taken_.exchange(1) == 0) {
      ready_[lane].push(0);
      helper_calls_.leave();
    } else if (!wait_for_offer(lane)) {
      return;
    }
    std::uint64_t ended = 0;
    for (;;) {
      if (slots_[lane].empty() && !ready_[lane].empty()) {
        slots_[lane].offer(ready_[lane]);
        if (helper_calls_.call()) {
          calls_.fetch_add(1);
        }
      }
      if (ready_[lane].empty()) {
        if (ended > 0 && open_.end(std::exchange(ended, 0))) {
          ended_count_.fetch_add(1);
          return;
        }
        if (!slots_[lane].take(ready_[lane])) {
          helper_calls_.enter();
          if (!wait_for_offer(lane)) {
            return;
          }
        }
      }
      run(lane, ready_[lane].pop());
      ++ended;
    }
  }

  bool wait_for_offer(std::size_t lane) {
    const bool found = slots_[1 - lane].take(ready_[lane]);
    helper_calls_.leave();
    return found || (Protocol::kLooksAfterLeaving && slots_[1 - lane].take(ready_[lane]));
  }

  void run(std::size_t lane, std::uint32_t entry) {
    const std::uint32_t task = entry & ~kMark;
    const bool skipped = entry != task;
    if (skipped) {
      ++skips_[task];
    } else {
      if (task == 1 && shape_.first_waits_for_second) {
        block_until([this] { return second_ran_.load() == 1; });
      }
      if (task == 2) {
        second_ran_.store(1);
      }
      ++runs_[task];
    }
    for (const std::uint32_t successor : shape_.successors[task]) {
      std::uint32_t ready = 0;
      if (skipped || task == shape_.failing
              ? count_down_marking(counters_[successor], successor, ready)
              : Protocol::count_down(counters_[successor], successor, ready)) {
        counters_[successor].store(predecessors_[successor]);
        ready_[lane].push(ready);
      }
    }
  }

  const Shape shape_;
  std::vector<std::uint32_t> predecessors_;
  std::vector<Atom<std::uint32_t>> counters_;
  std::vector<int> runs_;
  std::vector<int> skips_;
  ReadyList ready_[2];
  typename Protocol::Slot slots_[2];
  typename Protocol::Calls helper_calls_;
  typename Protocol::Open open_;
  Atom<int> calls_ = 0;
  Atom<int> root_taken_ = 0;
  Atom<int> second_ran_ = 0;
  Atom<int> ended_count_ = 0;
};

template <class Protocol>
Exploration explore(const Shape& shape, std::size_t preemptions) {
  return Explorer({.preemption_count_max = preemptions}).explore([&shape] {
    const auto scene = std::make_shared<Scene<Protocol>>(shape);
    return Program{.bodies = {[scene] { scene->work(0); }, [scene] { scene->work(1); }},
                   .check = [scene] { scene->check(); }};
  });
}

Shape diamond() {
  return {.successors = {{1, 2}, {3}, {3}, {}}};
}

// Three tasks at once, of which two meet.
Shape fan() {
  return {.successors = {{1, 2, 3}, {4}, {4}, {}, {}}};
}

void expect_right(const Shape& shape, std::size_t preemptions) {
  const Exploration exploration = explore<Right>(shape, preemptions);
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
  EXPECT_GT(exploration.schedule_count, 500u);
}

TEST(LaneModel, RunsEveryTaskOnce) {
  expect_right(diamond(), 3);
  expect_right(fan(), 2);
}

TEST(LaneModel, SkipsWhatFollowsAFailure) {
  Shape shape = diamond();
  shape.failing = 1;
  expect_right(shape, 3);
  shape = fan();
  shape.failing = 2;
  expect_right(shape, 2);
}

TEST(LaneModel, FindsAWorkerForAnOfferWhileItsOwnerWorks) {
  Shape shape = diamond();
  shape.first_waits_for_second = true;
  // The newest is taken first, so the one that waits must be the last to become ready.
  shape.successors[0] = {2, 1};
  expect_right(shape, 3);
}

struct TornCount : Right {
  static bool count_down(Atom<std::uint32_t>& counter, std::uint32_t position,
                         std::uint32_t& entry) {
    return pinion::count_down</*Alone=*/true>(counter, position, entry);
  }
};

TEST(LaneModel, FindsTheTaskThatATornCountLoses) {
  const Exploration exploration = explore<TornCount>(diamond(), 3);
  EXPECT_EQ(exploration.failure.find("no body can go on"), 0u) << exploration.failure;
}

// Takes without saying so first.
class HastySlot {
 public:
  [[nodiscard]] bool empty() const { return full_.load() == 0; }
  void offer(ReadyList& ready) {
    count_ = ready.take_older_half(entries_, 8);
    full_.store(1);
  }
  bool take(ReadyList& ready) {
    if (full_.load() == 0) {
      return false;
    }
    ready.push_all(entries_, count_);
    full_.store(0);
    return true;
  }

 private:
  Atom<int> full_ = 0;
  std::uint32_t count_ = 0;
  std::uint32_t entries_[8] = {};
};

struct HastyOffers : Right {
  using Slot = HastySlot;
};

TEST(LaneModel, FindsTheTaskThatTwoLanesTake) {
  const Exploration exploration = explore<HastyOffers>(diamond(), 3);
  EXPECT_NE(exploration.failure, "");
}

struct LeavingWithoutALook : Right {
  static constexpr bool kLooksAfterLeaving = false;
};

TEST(LaneModel, FindsTheOfferThatNobodyIsCalledFor) {
  Shape shape = diamond();
  shape.first_waits_for_second = true;
  shape.successors[0] = {2, 1};
  const Exploration exploration = explore<LeavingWithoutALook>(shape, 3);
  EXPECT_EQ(exploration.failure.find("no body can go on"), 0u) << exploration.failure;
}

// Says that the run has ended to whoever looks at an empty count, not to who emptied it.
class OpenThatIsReadTwice {
 public:
  void reset(std::uint64_t count) { count_.store(count); }
  bool end(std::uint64_t count) {
    count_.fetch_sub(count);
    return count_.load() == 0;
  }

 private:
  Atom<std::uint64_t> count_ = 0;
};

struct DoubleEnd : Right {
  using Open = OpenThatIsReadTwice;
};

TEST(LaneModel, FindsTheRunThatEndsTwice) {
  const Exploration exploration = explore<DoubleEnd>(fan(), 3);
  EXPECT_EQ(exploration.failure.find("the run did not end once"), 0u) << exploration.failure;
}

}  // namespace
}  // namespace pinion
