#include <pinion/core/detail/task_ring.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
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

using Ring = detail::TaskRing<int, model::Atom>;

// What went in and what came out, in the order in which each body saw it. `RingType` is the subject
// or a mutant of it.
template <class RingType>
struct Scene {
  explicit Scene(std::size_t capacity) : ring(capacity) {}

  void push(int item) {
    if (ring.try_push(std::move(item))) {
      pushed.push_back(item);
    } else {
      refused = true;
    }
  }

  void pop(std::vector<int>& popped) {
    if (const std::optional<int> item = ring.try_pop()) {
      popped.push_back(*item);
    }
  }

  // Everything that went in comes out once.
  void check() {
    std::vector<int> all;
    for (std::vector<int>& popped : popped_by_body) {
      all.insert(all.end(), popped.begin(), popped.end());
    }
    while (const std::optional<int> item = ring.try_pop()) {
      all.push_back(*item);
    }
    std::sort(all.begin(), all.end());
    std::sort(pushed.begin(), pushed.end());
    require(all == pushed, "items were lost or came twice");
    require(ring.size() == 0, "an empty ring has a size");
  }

  RingType ring;
  std::vector<int> pushed;
  std::vector<std::vector<int>> popped_by_body = std::vector<std::vector<int>>(2);
  bool refused = false;
};

// Two bodies push two items each and pop two each, by turns, on a ring that has laps behind it.
template <class RingType>
Program make_program(std::size_t capacity, std::size_t laps) {
  const auto scene = std::make_shared<Scene<RingType>>(capacity);
  for (std::size_t i = 0; i < laps * capacity; ++i) {
    static_cast<void>(scene->ring.try_push(0));
    static_cast<void>(scene->ring.try_pop());
  }
  const auto body = [scene](int number) {
    std::vector<int>& popped = scene->popped_by_body[static_cast<std::size_t>(number)];
    for (int i = 1; i <= 2; ++i) {
      scene->push(10 * number + i);
      scene->pop(popped);
    }
  };
  return {.bodies = {[body] { body(0); }, [body] { body(1); }},
          .check = [scene] { scene->check(); }};
}

TEST(TaskRingModel, KeepsEveryItemOnceUnderAllSchedulesOfThreePreemptions) {
  for (const std::size_t laps : {0u, 1u, 3u}) {
    const Exploration exploration = Explorer({.preemption_count_max = 3}).explore([laps] {
      return make_program<Ring>(2, laps);
    });
    EXPECT_EQ(exploration.failure, "");
    EXPECT_TRUE(exploration.complete);
    EXPECT_GT(exploration.schedule_count, 500u);
  }
}

// A producer of more than fits, against one consumer: what is accepted comes out in order.
TEST(TaskRingModel, IsFirstInFirstOutAndRefusesWhatDoesNotFit) {
  bool refused_once = false;
  const Exploration exploration = Explorer({.preemption_count_max = 4}).explore([&refused_once] {
    const auto scene = std::make_shared<Scene<Ring>>(2);
    return Program{.bodies = {[scene] {
                                for (int i = 1; i <= 4; ++i) {
                                  scene->push(i);
                                }
                              },
                              [scene] {
                                for (int i = 0; i < 3; ++i) {
                                  scene->pop(scene->popped_by_body[0]);
                                }
                              }},
                   .check = [scene, &refused_once] {
                     refused_once = refused_once || scene->refused;
                     std::vector<int> popped = scene->popped_by_body[0];
                     require(popped.size() <= scene->pushed.size() &&
                                 std::equal(popped.begin(), popped.end(), scene->pushed.begin()),
                             "items came out in another order");
                     scene->check();
                   }};
  });
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
  EXPECT_TRUE(refused_once);
}

// The same queue with the claim of a position torn into a load and a store.
class TornRing {
 public:
  explicit TornRing(std::size_t capacity) : cells_(capacity) {}
  bool try_push(int&& item) {
    const std::size_t position = tail_.load();
    if (position - head_.load() == cells_.size()) {
      return false;
    }
    cells_[position % cells_.size()] = item;
    tail_.store(position + 1);
    return true;
  }
  std::optional<int> try_pop() {
    const std::size_t position = head_.load();
    if (position == tail_.load()) {
      return std::nullopt;
    }
    const int item = cells_[position % cells_.size()];
    head_.store(position + 1);
    return item;
  }
  [[nodiscard]] std::size_t size() const { return tail_.load() - head_.load(); }

 private:
  std::vector<int> cells_;
  model::Atom<std::size_t> tail_ = 0;
  model::Atom<std::size_t> head_ = 0;
};

TEST(TaskRingModel, FindsTheItemThatATornRingLoses) {
  const Exploration exploration =
      Explorer({.preemption_count_max = 3}).explore([] { return make_program<TornRing>(4, 0); });
  EXPECT_EQ(exploration.failure.find("items were lost or came twice"), 0u) << exploration.failure;
}

// Passes a cell on before the item is in it.
class HastyRing {
 public:
  explicit HastyRing(std::size_t capacity) : ring_(capacity), items_(capacity) {}
  bool try_push(int&& item) {
    const std::size_t position = next_.fetch_add(1);
    if (!ring_.try_push(static_cast<int>(position % items_.size()))) {
      return false;
    }
    items_[position % items_.size()].store(item);
    return true;
  }
  std::optional<int> try_pop() {
    const std::optional<int> cell = ring_.try_pop();
    return cell ? std::optional<int>(items_[static_cast<std::size_t>(*cell)].exchange(-1))
                : std::nullopt;
  }
  [[nodiscard]] std::size_t size() const { return ring_.size(); }

 private:
  Ring ring_;
  model::Atom<std::size_t> next_ = 0;
  std::vector<model::Atom<int>> items_;
};

TEST(TaskRingModel, FindsTheItemThatIsPassedOnTooEarly) {
  const Exploration exploration =
      Explorer({.preemption_count_max = 3}).explore([] { return make_program<HastyRing>(4, 0); });
  EXPECT_EQ(exploration.failure.find("items were lost or came twice"), 0u) << exploration.failure;
}

}  // namespace
}  // namespace pinion
