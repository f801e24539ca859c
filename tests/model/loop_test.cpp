// What a loop over several places and a group of tasks wait by: pieces and counts.

#include <pinion/core/detail/drop_count.hpp>
#include <pinion/core/detail/piece_cursor.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
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

using Count = detail::DropCount<Atom>;
using Cursor = detail::PieceCursor<Atom>;

// As CountDown is; the flag is what its mutex guards.
template <class CountType>
class Waiting {
 public:
  void add(std::size_t count) { count_.add(count); }

  void drop() {
    if (count_.drop()) {
      require(told_.load() == 0, "two drops were the last");
      told_.store(1);
    }
  }

  void wait() {
    drop();
    block_until([this] { return told_.load() == 1; });
    told_.store(0);
    count_.renew();
  }

 private:
  CountType count_;
  Atom<int> told_ = 0;
};

// A loop over several places as BulkRun is, with a body for each place and one that waits.
template <class CursorType, class CountType>
class Loop {
 public:
  explicit Loop(const std::vector<std::size_t>& piece_counts) : parts_(piece_counts.size()) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      parts_[i].pieces.reset(piece_counts[i]);
      parts_[i].runs.resize(piece_counts[i]);
      pieces_.add(piece_counts[i]);
    }
  }

  void work(std::size_t home) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      Part& part = parts_[(home + i) % parts_.size()];
      while (const std::optional<std::size_t> piece = part.pieces.take()) {
        if (*piece >= part.runs.size()) {
          return require(false, "there is no such piece");
        }
        require(!is_over_, "a piece ran after the end");
        ++part.runs[*piece];
        pieces_.drop();
      }
    }
  }

  void wait() {
    pieces_.wait();
    is_over_ = true;
    for (const Part& part : parts_) {
      for (const int runs : part.runs) {
        require(runs == 1, "a piece ran " + std::to_string(runs) + " times before the end");
      }
    }
  }

 private:
  struct Part {
    CursorType pieces = {};
    std::vector<int> runs = {};
  };

  std::vector<Part> parts_;
  Waiting<CountType> pieces_;
  bool is_over_ = false;
};

template <class CursorType, class CountType = Count>
Exploration explore_loop(const std::vector<std::size_t>& piece_counts, std::size_t preemptions) {
  return Explorer({.preemption_count_max = preemptions}).explore([&piece_counts] {
    const auto loop = std::make_shared<Loop<CursorType, CountType>>(piece_counts);
    Program program{.bodies = {[loop] { loop->wait(); }}};
    for (std::size_t home = 0; home < piece_counts.size(); ++home) {
      program.bodies.push_back([loop, home] { loop->work(home); });
    }
    return program;
  });
}

void expect_right(const Exploration& exploration) {
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete);
  EXPECT_GT(exploration.schedule_count, 100u);
}

TEST(LoopModel, RunsEveryPieceOnceBeforeItsEnd) {
  expect_right(explore_loop<Cursor>({2, 2}, 3));
  expect_right(explore_loop<Cursor>({3, 1}, 2));
  expect_right(explore_loop<Cursor>({1, 1, 1}, 2));
}

class CursorThatTrustsItsLook {
 public:
  void reset(std::size_t count) { count_ = count; }
  std::optional<std::size_t> take() {
    return next_.load() < count_ ? std::optional(next_.fetch_add(1)) : std::nullopt;
  }

 private:
  std::size_t count_ = 0;
  Atom<std::size_t> next_ = 0;
};

TEST(LoopModel, FindsThePieceBehindTheLastIfTheLookIsTrusted) {
  EXPECT_EQ(explore_loop<CursorThatTrustsItsLook>({2, 2}, 3).failure.find("there is no such piece"),
            0u);
}

class TornCursor {
 public:
  void reset(std::size_t count) { count_ = count; }
  std::optional<std::size_t> take() {
    const std::size_t piece = next_.load();
    if (piece >= count_) {
      return std::nullopt;
    }
    next_.store(piece + 1);
    return piece;
  }

 private:
  std::size_t count_ = 0;
  Atom<std::size_t> next_ = 0;
};

TEST(LoopModel, FindsThePieceThatATornCursorHandsOutTwice) {
  EXPECT_NE(explore_loop<TornCursor>({2, 2}, 3).failure, "");
}

class TornCount {
 public:
  void add(std::size_t count) { count_.fetch_add(count); }
  bool drop() {
    const std::size_t before = count_.load();
    count_.store(before - 1);
    return before == 1;
  }
  void renew() { count_.store(1); }

 private:
  Atom<std::size_t> count_ = 1;
};

TEST(LoopModel, FindsTheEndThatATornCountForgets) {
  EXPECT_NE((explore_loop<Cursor, TornCount>({2, 2}, 3).failure), "");
}

// A group of tasks as TaskGroup is: one body submits and waits, several times; the others work.
template <class CountType>
class Group {
 public:
  void submit_and_wait(std::size_t task_count) {
    for (std::size_t i = 0; i < task_count; ++i) {
      tasks_.add(1);
      handed_.fetch_add(1);
      ++submitted_count_;
    }
    tasks_.wait();
    require(ran_count_ == submitted_count_, "a wait was over before its tasks");
  }

  void end() { is_over_.store(1); }

  void work() {
    for (;;) {
      block_until([this] { return handed_.load() > 0 || is_over_.load() == 1; });
      std::size_t handed = handed_.load();
      while (handed > 0 && !handed_.compare_exchange_strong(handed, handed - 1)) {
      }
      if (handed > 0) {
        ++ran_count_;
        tasks_.drop();
      } else if (is_over_.load() == 1) {
        return;
      }
    }
  }

 private:
  Waiting<CountType> tasks_;
  Atom<std::size_t> handed_ = 0;
  Atom<int> is_over_ = 0;
  std::size_t submitted_count_ = 0;
  std::size_t ran_count_ = 0;
};

template <class CountType>
Exploration explore_group(std::size_t workers, const std::vector<std::size_t>& rounds,
                          std::size_t preemptions) {
  return Explorer({.preemption_count_max = preemptions}).explore([=] {
    const auto group = std::make_shared<Group<CountType>>();
    Program program{.bodies = {[group, rounds] {
                      for (const std::size_t task_count : rounds) {
                        group->submit_and_wait(task_count);
                      }
                      group->end();
                    }}};
    for (std::size_t i = 0; i < workers; ++i) {
      program.bodies.push_back([group] { group->work(); });
    }
    return program;
  });
}

TEST(DropCountModel, EndsEachWaitAfterAllTasksOfItsRound) {
  expect_right(explore_group<Count>(/*workers=*/1, {1, 2}, 3));
  expect_right(explore_group<Count>(/*workers=*/2, {2}, 2));
  expect_right(explore_group<Count>(/*workers=*/2, {1, 1}, 2));
  expect_right(explore_group<Count>(/*workers=*/2, {0, 2, 0}, 2));
}

// Begins at zero: reached again as soon as the first task has ended.
class CountOfTheTasksAlone : public Count {
 public:
  CountOfTheTasksAlone() { static_cast<void>(drop()); }
  void renew() {
    Count::renew();
    static_cast<void>(drop());
  }
};

TEST(DropCountModel, FindsTheEndThatComesBetweenTwoTasksWithoutTheCountOfTheOneWhoWaits) {
  EXPECT_NE(explore_group<CountOfTheTasksAlone>(/*workers=*/1, {2}, 3).failure, "");
}

TEST(DropCountModel, FindsTheEndThatATornCountForgets) {
  EXPECT_NE(explore_group<TornCount>(/*workers=*/2, {2}, 3).failure, "");
}

}  // namespace
}  // namespace pinion
