#include <pinion/core/detail/drain_gate.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <pinion/core/detail/task_ring.hpp>

#include "atom.hpp"
#include "explorer.hpp"

namespace pinion {
namespace {

using model::block_until;
using model::Exploration;
using model::Explorer;
using model::Program;
using model::require;

using Ring = detail::TaskRing<std::size_t, model::Atom>;
using Gate = detail::DrainGate<model::Atom>;

// One place of an executor, as PlaceArena is, with bodies for its workers. A worker that nobody
// calls sleeps, and so does one whose task waits for another task. So a call that is lost leaves
// bodies that cannot go on, which the explorer reports.
template <class GateType>
class Place {
 public:
  Place(std::size_t capacity, std::uint32_t worker_count, std::size_t caller_count,
        std::size_t task_count)
      : ring_(capacity),
        gate_(worker_count),
        caller_count_(caller_count),
        run_counts_(task_count, 0) {}

  // The first task waits for the second, as resident tasks do; both must have a worker.
  void let_first_wait_for_second() { first_waits_ = true; }

  void submit(std::size_t task) {
    while (!try_push(task)) {
      // Not while a consumer is between taking its cell and passing it on.
      block_until([this] { return ring_.size() < ring_.capacity() && popping_.load() == 0; });
    }
    if (gate_.enter()) {
      calls_.fetch_add(1);
    }
  }

  void bulk() {
    gate_.begin_bulk();
    if (gate_.end_bulk()) {
      for (std::size_t i = ring_.size(); i > 0 && gate_.enter(); --i) {
        calls_.fetch_add(1);
      }
    }
  }

  // The last that a body of submit() or bulk() does.
  void caller_ends() { ended_caller_count_.fetch_add(1); }

  // Until all tasks have run and nobody calls any more.
  void work() {
    for (;;) {
      block_until([this] { return calls_.load() > 0 || all_done(); });
      int calls = calls_.load();
      while (calls > 0 && !calls_.compare_exchange_strong(calls, calls - 1)) {
      }
      if (calls > 0) {
        drain();
      } else if (all_done()) {
        return;
      }
    }
  }

  void check() const {
    for (const int count : run_counts_) {
      require(count == 1, "a task ran " + std::to_string(count) + " times");
    }
    require(ring_.size() == 0, "the ring is not empty at the end");
    require(gate_.drainer_count() == 0, "a drainer is counted that has left");
  }

 private:
  bool try_push(std::size_t task) {
    pushing_.fetch_add(1);
    const bool pushed = ring_.try_push(std::move(task));
    pushing_.fetch_sub(1);
    return pushed;
  }

  std::optional<std::size_t> try_pop() {
    popping_.fetch_add(1);
    const std::optional<std::size_t> task = ring_.try_pop();
    popping_.fetch_sub(1);
    return task;
  }

  [[nodiscard]] bool all_done() const {
    return done_count_.load() == run_counts_.size() && ended_caller_count_.load() == caller_count_;
  }

  void drain() {
    for (;;) {
      if (gate_.bulk_waits()) {
        if (gate_.leave_to_bulk()) {
          return;
        }
      } else if (const std::optional<std::size_t> task = try_pop()) {
        run(*task);
      } else if (gate_.leave(ring_)) {
        return;
      } else {
        // Here a drainer polls: a producer has taken a cell and not filled it yet.
        block_until(
            [this] { return ring_.size() == 0 || gate_.bulk_waits() || pushing_.load() == 0; });
      }
    }
  }

  void run(std::size_t task) {
    if (first_waits_ && task == 0) {
      block_until([this] { return second_ran_.load() == 1; });
    }
    if (task == 1) {
      second_ran_.store(1);
    }
    ++run_counts_[task];
    done_count_.fetch_add(1);
  }

  Ring ring_;
  GateType gate_;
  model::Atom<int> calls_ = 0;
  model::Atom<int> second_ran_ = 0;
  model::Atom<int> pushing_ = 0;
  model::Atom<int> popping_ = 0;
  const std::size_t caller_count_;
  model::Atom<std::size_t> ended_caller_count_ = 0;
  model::Atom<std::size_t> done_count_ = 0;
  std::vector<int> run_counts_;
  bool first_waits_ = false;
};

struct Shape {
  std::size_t capacity = 2;
  std::uint32_t workers = 1;
  std::vector<std::size_t> tasks_of_producers = {1};
  bool first_waits_for_second = false;
  bool with_bulk = false;
};

template <class GateType>
Program make_program(const Shape& shape) {
  std::size_t task_count = 0;
  for (const std::size_t tasks : shape.tasks_of_producers) {
    task_count += tasks;
  }
  const std::size_t caller_count = shape.tasks_of_producers.size() + (shape.with_bulk ? 1 : 0);
  const auto place =
      std::make_shared<Place<GateType>>(shape.capacity, shape.workers, caller_count, task_count);
  if (shape.first_waits_for_second) {
    place->let_first_wait_for_second();
  }
  Program program{.check = [place] { place->check(); }};
  std::size_t first = 0;
  for (const std::size_t tasks : shape.tasks_of_producers) {
    program.bodies.push_back([place, first, tasks] {
      for (std::size_t i = 0; i < tasks; ++i) {
        place->submit(first + i);
      }
      place->caller_ends();
    });
    first += tasks;
  }
  if (shape.with_bulk) {
    program.bodies.push_back([place] {
      place->bulk();
      place->caller_ends();
    });
  }
  for (std::uint32_t i = 0; i < shape.workers; ++i) {
    program.bodies.push_back([place] { place->work(); });
  }
  return program;
}

template <class GateType>
Exploration explore(const Shape& shape, std::size_t preemptions) {
  return Explorer({.preemption_count_max = preemptions}).explore([&shape] {
    return make_program<GateType>(shape);
  });
}

void expect_right(const Shape& shape, std::size_t preemptions) {
  const Exploration exploration = explore<Gate>(shape, preemptions);
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
  EXPECT_GT(exploration.schedule_count, 100u);
}

TEST(DrainGateModel, RunsEveryTaskOfOneProducer) {
  expect_right({.tasks_of_producers = {2}}, 4);
}

TEST(DrainGateModel, RunsEveryTaskOfTwoProducers) {
  expect_right({.tasks_of_producers = {1, 1}}, 3);
}

TEST(DrainGateModel, RunsEveryTaskOnTwoWorkers) {
  expect_right({.workers = 2, .tasks_of_producers = {2}}, 2);
}

TEST(DrainGateModel, RunsEveryTaskThroughAFullRing) {
  expect_right({.capacity = 2, .tasks_of_producers = {4}}, 2);
}

TEST(DrainGateModel, GivesAWorkerToEachTaskThatStays) {
  expect_right({.workers = 2, .tasks_of_producers = {2}, .first_waits_for_second = true}, 2);
  expect_right({.workers = 2, .tasks_of_producers = {1, 1}, .first_waits_for_second = true}, 2);
}

TEST(DrainGateModel, CallsTheDrainersBackAfterBulkWork) {
  expect_right({.tasks_of_producers = {2}, .with_bulk = true}, 3);
  expect_right({.workers = 2, .tasks_of_producers = {1}, .with_bulk = true}, 2);
}

// The mutants: each leaves out one step of the proof.

class GateWithoutLookAfterLeaving : public Gate {
 public:
  using Gate::Gate;
  template <class AnyRing>
  bool leave(const AnyRing& /*ring*/) noexcept {
    static const detail::TaskRing<std::size_t> empty(2);
    return Gate::leave(empty);
  }
};

TEST(DrainGateModel, FindsTheCallThatIsLostWithoutALookAfterLeaving) {
  const Exploration exploration =
      explore<GateWithoutLookAfterLeaving>({.tasks_of_producers = {1, 1}}, 3);
  EXPECT_EQ(exploration.failure.find("no body can go on"), 0u) << exploration.failure;
}

class GateThatLooksBeforeLeaving : public Gate {
 public:
  using Gate::Gate;
  template <class AnyRing>
  bool leave(const AnyRing& ring) noexcept {
    static const detail::TaskRing<std::size_t> empty(2);
    return ring.size() == 0 && Gate::leave(empty);
  }
};

TEST(DrainGateModel, FindsTheCallThatIsLostWhenTheLookComesFirst) {
  const Exploration exploration =
      explore<GateThatLooksBeforeLeaving>({.tasks_of_producers = {1, 1}}, 3);
  EXPECT_EQ(exploration.failure.find("no body can go on"), 0u) << exploration.failure;
}

class GateThatForgetsTheRingAfterBulk : public Gate {
 public:
  using Gate::Gate;
  bool end_bulk() noexcept {
    static_cast<void>(Gate::end_bulk());
    return false;
  }
};

TEST(DrainGateModel, FindsTheTaskThatBulkWorkLeavesBehind) {
  const Exploration exploration =
      explore<GateThatForgetsTheRingAfterBulk>({.tasks_of_producers = {1}, .with_bulk = true}, 3);
  EXPECT_EQ(exploration.failure.find("no body can go on"), 0u) << exploration.failure;
}

// A drainer that is called only into an empty place: enough for tasks that end, not for those that
// stay.
class GateForOneDrainer : public Gate {
 public:
  explicit GateForOneDrainer(std::uint32_t /*drainer_count_max*/) : Gate(1) {}
};

TEST(DrainGateModel, FindsTheTaskThatWaitsBehindOneThatStays) {
  const Exploration exploration = explore<GateForOneDrainer>(
      {.workers = 2, .tasks_of_producers = {2}, .first_waits_for_second = true}, 3);
  EXPECT_EQ(exploration.failure.find("no body can go on"), 0u) << exploration.failure;
}

}  // namespace
}  // namespace pinion
