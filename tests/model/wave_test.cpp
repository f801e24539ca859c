#include "wave.hpp"

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
#include "lane.hpp"

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
  using Seat = WaveSeat<Atom>;
  static constexpr bool kEndsAfterRunning = true;
  static constexpr bool kWaitsForOthers = true;
  static constexpr bool kLooksAfterLeaving = true;
  static constexpr bool kLooksBeforeTaking = true;
};

struct Shape {
  std::vector<std::uint32_t> widths;         // Of the levels.
  std::uint32_t part_size = 1;               // Units that are taken at once.
  std::uint32_t waiting = UINT32_MAX;        // A unit that ends only when the next one has begun.
  std::uint32_t counted_level = UINT32_MAX;  // Is not run in waves, as units before ask for it.
  std::size_t lanes = 2;                     // The last ones may have no worker.
  std::uint32_t late_calls = 0;
};

// Two workers, each with a lane of its own, as RunState has them. A worker that nobody calls
// sleeps, so that a call which is lost leaves bodies that cannot go on.
template <class Protocol>
class Scene {
 public:
  explicit Scene(Shape shape) : shape_(std::move(shape)) {
    begins_.push_back(0);
    for (const std::uint32_t width : shape_.widths) {
      begins_.push_back(begins_.back() + width);
    }
    begun_ = std::vector<int>(begins_.back());
    ended_ = std::vector<Atom<int>>(begins_.back());
    waves_.reset(begins_.data(), static_cast<std::uint32_t>(shape_.widths.size()), shape_.lanes, 1);
    open_.reset(begins_[last_level()]);
    // As many as a run begins with, and those that come late; others come when they are called.
    for (std::uint32_t i = 0; i < waves_.slice_count(0) + shape_.late_calls; ++i) {
      helper_calls_.enter();
      calls_.fetch_add(1);
    }
  }

  void work(std::uint32_t lane) {
    for (;;) {
      block_until([this] { return calls_.load() > 0 || has_ended(); });
      int calls = calls_.load();
      while (calls > 0 && !calls_.compare_exchange_strong(calls, calls - 1)) {
      }
      if (calls > 0) {
        helper_calls_.leave();
        visit(lane);
      } else if (has_ended()) {
        return;
      }
    }
  }

  void check() {
    require(end_count_.load() + converted_.load() == 1, "the run did not end once");
    for (std::uint32_t unit = 0; unit < begun_.size(); ++unit) {
      const int expected = unit < begins_[last_level()] ? 1 : 0;
      require(begun_[unit] == expected,
              "unit " + std::to_string(unit) + " ran " + std::to_string(begun_[unit]) + " times");
    }
  }

 private:
  [[nodiscard]] std::size_t last_level() const {
    return std::min<std::size_t>(shape_.counted_level, shape_.widths.size());
  }
  [[nodiscard]] bool has_ended() const { return end_count_.load() + converted_.load() > 0; }

  void visit(std::uint32_t lane) {
    waves_.seat(lane).enter();
    for (;;) {
      if (const UnitRange part = find_part(lane); !part.empty()) {
        run(lane, part);
        continue;
      }
      waves_.seat(lane).leave();
      std::uint32_t& level = levels_[lane];
      if (level >= convert_at_.load()) {
        if (converting_.exchange(1) == 0) {
          convert();
        }
        return;
      }
      if (level == waves_.level_count() || !Protocol::kLooksAfterLeaving ||
          waves_.level_from(level) == level) {
        return;
      }
      waves_.seat(lane).enter();
    }
  }

  UnitRange find_part(std::uint32_t lane) {
    std::uint32_t& level = levels_[lane];
    for (;;) {
      if ((Protocol::kLooksBeforeTaking && level >= convert_at_.load()) ||
          level == waves_.level_count()) {
        return {};
      }
      UnitRange part = waves_.seat(lane).take_first(waves_.slice(level, lane), shape_.part_size);
      if (part.empty()) {
        part = waves_.take_of_others(level, lane, shape_.part_size, 1);
      }
      if (!part.empty()) {
        return part;
      }
      const std::uint32_t next = Protocol::kWaitsForOthers ? waves_.level_from(level) : level + 1;
      if (next == level) {
        return {};
      }
      level = next;
      if (level < convert_at_.load() && level < waves_.level_count() &&
          waves_.needs_workers(level) && helper_calls_.call()) {
        calls_.fetch_add(1);
      }
      if (level >= convert_at_.load()) {
        return {};
      }
    }
  }

  void run(std::uint32_t lane, UnitRange part) {
    if (!Protocol::kEndsAfterRunning) {
      waves_.seat(lane).end(part.size());
    }
    for (std::uint32_t unit = part.begin; unit < part.end; ++unit) {
      run_unit(lane, unit);
    }
    if (Protocol::kEndsAfterRunning) {
      waves_.seat(lane).end(part.size());
    }
    if (open_.end(part.size()) && shape_.counted_level == UINT32_MAX) {
      end_count_.fetch_add(1);
    }
  }

  void run_unit(std::uint32_t lane, std::uint32_t unit) {
    require(converting_.load() == 0, "a unit began while the run was converted");
    const std::uint32_t level = levels_[lane];
    require(unit >= begins_[level] && unit < begins_[level + 1], "a unit of another level ran");
    for (std::uint32_t before = 0; before < begins_[level]; ++before) {
      require(ended_[before].load() == 1,
              "a unit began before those of the level before had ended");
    }
    ++begun_[unit];
    if (level + 1 == shape_.counted_level) {
      convert_at_.store(level + 1);
    }
    if (unit == shape_.waiting) {
      block_until([this, unit] { return second_began_.load() == unit + 1; });
    }
    if (unit == shape_.waiting + 1) {
      second_began_.store(unit);
    }
    ended_[unit].store(1);
  }

  void convert() {
    for (std::uint32_t unit = 0; unit < begins_[shape_.counted_level]; ++unit) {
      require(ended_[unit].load() == 1, "a unit had not ended when the run was converted");
    }
    converted_.fetch_add(1);
  }

  const Shape shape_;
  std::vector<std::uint32_t> begins_;
  std::vector<int> begun_;
  std::vector<Atom<int>> ended_;
  Waves<Atom, typename Protocol::Seat> waves_;
  std::uint32_t levels_[2] = {};
  HelperCalls<Atom> helper_calls_;
  OpenTasks<Atom> open_;
  Atom<std::uint32_t> convert_at_ = UINT32_MAX;
  Atom<std::uint32_t> second_began_ = 0;
  Atom<int> converting_ = 0;
  Atom<int> converted_ = 0;
  Atom<int> calls_ = 0;
  Atom<int> end_count_ = 0;
};

template <class Protocol>
Exploration explore(const Shape& shape, std::size_t preemptions) {
  return Explorer({.preemption_count_max = preemptions}).explore([&shape] {
    const auto scene = std::make_shared<Scene<Protocol>>(shape);
    return Program{.bodies = {[scene] { scene->work(0); }, [scene] { scene->work(1); }},
                   .check = [scene] { scene->check(); }};
  });
}

void expect_right(const Shape& shape, std::size_t preemptions) {
  const Exploration exploration = explore<Right>(shape, preemptions);
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
  EXPECT_GT(exploration.schedule_count, 100u);
}

const Shape kTwoLevels = {.widths = {2, 2}};
const Shape kDiamond = {.widths = {1, 3, 1}};
const Shape kThreeLanes = {.widths = {3, 3}, .part_size = 2, .lanes = 3};

TEST(WaveModel, RunsEveryUnitOnceAndLevelByLevel) {
  expect_right({.widths = {2, 1}}, 3);
  expect_right(kTwoLevels, 2);
  expect_right(kDiamond, 2);
  expect_right({.widths = {5, 2}, .part_size = 2}, 2);
}

TEST(WaveModel, RunsTheSliceOfALaneWithoutAWorker) {
  expect_right(kThreeLanes, 2);
}

// The unit that waits needs another worker for the next one.
const Shape kWaiting = {.widths = {2, 2}, .waiting = 2};

TEST(WaveModel, FindsAWorkerForALevel) {
  expect_right(kWaiting, 2);
}

const Shape kCounted = {.widths = {2, 2, 1}, .counted_level = 1, .late_calls = 1};

TEST(WaveModel, ConvertsOnceAndWhenALevelHasEnded) {
  expect_right(kCounted, 3);
  expect_right({.widths = {1, 3, 1}, .counted_level = 2}, 2);
}

struct EndsBeforeRunning : Right {
  static constexpr bool kEndsAfterRunning = false;
};

TEST(WaveModel, FindsTheUnitThatIsCountedBeforeItRuns) {
  EXPECT_EQ(explore<EndsBeforeRunning>(kTwoLevels, 3).failure.find("a unit began before"), 0u);
}

struct GoesOnWithoutOthers : Right {
  static constexpr bool kWaitsForOthers = false;
};

TEST(WaveModel, FindsTheLevelThatBeginsWhenAllIsTaken) {
  EXPECT_EQ(explore<GoesOnWithoutOthers>(kTwoLevels, 3).failure.find("a unit began before"), 0u);
}

struct LeavesWithoutALook : Right {
  static constexpr bool kLooksAfterLeaving = false;
};

TEST(WaveModel, FindsTheLevelThatNobodyIsCalledFor) {
  EXPECT_EQ(explore<LeavesWithoutALook>(kWaiting, 3).failure.find("no body can go on"), 0u);
}

struct TakesWithoutALook : Right {
  static constexpr bool kLooksBeforeTaking = false;
};

TEST(WaveModel, FindsTheUnitThatBeginsWhileTheRunIsConverted) {
  EXPECT_EQ(explore<TakesWithoutALook>(kCounted, 3).failure.find("a unit began while"), 0u);
}

// Takes the last unit of all from the end: what is left looks as if nothing had been taken.
class SeatThatForgets : public WaveSeat<Atom> {
 public:
  UnitRange take_last(UnitRange slice, std::uint32_t /*count_max*/, std::uint32_t /*rest_min*/) {
    if (first_.load() == 0) {
      first_.store(1);
      return WaveSeat::take_first(slice, slice.size());
    }
    return WaveSeat::left(slice);
  }

 private:
  Atom<int> first_ = 0;
};

struct ForgetsWhatIsTaken : Right {
  using Seat = SeatThatForgets;
};

TEST(WaveModel, FindsTheSliceThatIsPutTwice) {
  EXPECT_NE(explore<ForgetsWhatIsTaken>(kDiamond, 2).failure, "");
}

// Looks and takes in two steps.
class HastySeat {
 public:
  void reset() {}
  UnitRange take_first(UnitRange slice, std::uint32_t count_max) {
    const UnitRange left = this->left(slice);
    const std::uint32_t count = std::min(count_max, left.size());
    range_.store(std::uint64_t{left.end} << 32 | (left.begin + count));
    return {left.begin, left.begin + count};
  }
  UnitRange take_last(UnitRange slice, std::uint32_t count_max, std::uint32_t /*rest_min*/) {
    return take_first(slice, count_max);
  }
  void end(std::uint32_t count) { ended_.store(ended_.load() + count); }
  [[nodiscard]] std::uint32_t ended() const { return ended_.load(); }
  void enter() { present_.store(1); }
  void leave() { present_.store(0); }
  [[nodiscard]] bool is_away() const { return present_.load() == 0; }

 private:
  [[nodiscard]] UnitRange left(UnitRange slice) const {
    const std::uint64_t word = range_.load();
    const UnitRange range = {static_cast<std::uint32_t>(word),
                             static_cast<std::uint32_t>(word >> 32)};
    return range.end <= slice.begin ? slice : range.end <= slice.end ? range : UnitRange();
  }

  Atom<std::uint64_t> range_ = 0;
  Atom<std::uint32_t> ended_ = 0;
  Atom<std::uint32_t> present_ = 0;
};

struct TakesInTwoSteps : Right {
  using Seat = HastySeat;
};

TEST(WaveModel, FindsTheUnitThatTwoLanesTake) {
  EXPECT_NE(explore<TakesInTwoSteps>(kTwoLevels, 3).failure, "");
}

}  // namespace
}  // namespace pinion
