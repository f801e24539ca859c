#include <pinion/core/detail/memory_counter.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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

using Counter = detail::MemoryCounter<model::Atom>;

constexpr std::uint64_t kLimit = 10;

// Bodies that each hold an amount for a while, and one that only looks. What is held is counted
// beside, in the same step as the operation of the counter.
template <class CounterType>
class Scene {
 public:
  void hold(std::uint64_t bytes) {
    const std::optional<std::uint64_t> used = counter_.try_add(bytes, kLimit);
    if (!used) {
      ++refused_count_;
      return;
    }
    held_ += bytes;
    most_held_ = std::max(most_held_, held_);
    require(held_ <= kLimit, "more is held than the limit");
    require(*used == held_, "the answer is not what was held");
    counter_.raise_peak(*used);
    counter_.subtract(bytes);
    held_ -= bytes;
  }

  void look() const {
    require(counter_.used_bytes() <= kLimit, "the amount exceeded the limit for a moment");
  }

  void check(bool all_fit) const {
    require(counter_.used_bytes() == 0, "an amount is left at the end");
    require(counter_.peak_bytes() == most_held_, "the peak is not the most that was held");
    require(!all_fit || refused_count_ == 0, "what would have fitted was refused");
  }

 private:
  CounterType counter_;
  std::uint64_t held_ = 0;
  std::uint64_t most_held_ = 0;
  std::size_t refused_count_ = 0;
};

template <class CounterType>
Exploration explore(const std::vector<std::uint64_t>& amounts, std::size_t preemptions) {
  return Explorer({.preemption_count_max = preemptions}).explore([&amounts] {
    const auto scene = std::make_shared<Scene<CounterType>>();
    std::uint64_t sum = 0;
    Program program{.bodies = {[scene] { scene->look(); }}};
    for (const std::uint64_t amount : amounts) {
      sum += amount;
      program.bodies.push_back([scene, amount] { scene->hold(amount); });
    }
    program.check = [scene, sum] { scene->check(sum <= kLimit); };
    return program;
  });
}

void expect_right(const std::vector<std::uint64_t>& amounts, std::size_t preemptions) {
  const Exploration exploration = explore<Counter>(amounts, preemptions);
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
  EXPECT_GT(exploration.schedule_count, 100u);
}

TEST(MemoryCounterModel, RefusesNothingThatFitsAndKnowsThePeak) {
  expect_right({3, 7}, 4);
  expect_right({3, 5, 2}, 2);
}

TEST(MemoryCounterModel, NeverExceedsItsLimit) {
  expect_right({6, 7}, 4);
  expect_right({6, 4, 5}, 2);
}

// The mutants.

class CounterThatLooksAndThenAdds : public Counter {
 public:
  std::optional<std::uint64_t> try_add(std::uint64_t bytes, std::uint64_t limit) noexcept {
    const std::uint64_t used = used_bytes();
    return used + bytes > limit ? std::nullopt : Counter::try_add(bytes, limit * 2);
  }
};

TEST(MemoryCounterModel, FindsThatTwoFitIfTheLookAndTheSumAreTwoSteps) {
  EXPECT_EQ(
      explore<CounterThatLooksAndThenAdds>({6, 7}, 4).failure.find("more is held than the limit"),
      0u);
}

class CounterThatTakesBack : public Counter {
 public:
  std::optional<std::uint64_t> try_add(std::uint64_t bytes, std::uint64_t limit) noexcept {
    const std::optional<std::uint64_t> used = Counter::try_add(bytes, limit * 2);
    if (used > limit) {
      subtract(bytes);
      return std::nullopt;
    }
    return used;
  }
};

TEST(MemoryCounterModel, FindsTheMomentBeforeASumIsTakenBack) {
  EXPECT_EQ(explore<CounterThatTakesBack>({6, 7}, 4).failure.find(
                "the amount exceeded the limit for a moment"),
            0u);
}

class CounterThatLooksAgainForItsPeak : public Counter {
 public:
  void raise_peak(std::uint64_t /*used*/) noexcept { Counter::raise_peak(used_bytes()); }
};

TEST(MemoryCounterModel, FindsThePeakThatIsOverWhenTheLookComesTooLate) {
  EXPECT_EQ(explore<CounterThatLooksAgainForItsPeak>({3, 5}, 4).failure.find(
                "the peak is not the most that was held"),
            0u);
}

class CounterWithATornPeak : public Counter {
 public:
  void raise_peak(std::uint64_t used) noexcept {
    if (peak_.load() < used) {
      peak_.store(used);
    }
  }
  [[nodiscard]] std::uint64_t peak_bytes() const noexcept { return peak_.load(); }

 private:
  model::Atom<std::uint64_t> peak_ = 0;
};

TEST(MemoryCounterModel, FindsThePeakThatALowerOneReplaces) {
  EXPECT_EQ(explore<CounterWithATornPeak>({3, 5}, 4).failure.find(
                "the peak is not the most that was held"),
            0u);
}

}  // namespace
}  // namespace pinion
