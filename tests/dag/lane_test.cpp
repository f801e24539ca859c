// The lock-free core of a run on plain threads, which the sanitizer of data races understands; what
// an executor adds is left out.

#include "lane.hpp"

#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

TEST(ReadyList, GivesTheNewestAndGivesAwayTheOldest) {
  ReadyList list;
  for (std::uint32_t entry = 0; entry < 1000; ++entry) {
    list.push(entry);
  }
  std::uint32_t taken[OfferSlot<>::kCountMax];
  EXPECT_EQ(list.take_older_half(taken, OfferSlot<>::kCountMax), 255u);
  EXPECT_EQ(taken[0], 0u);
  EXPECT_EQ(taken[254], 254u);
  EXPECT_EQ(list.pop(), 999u);
  EXPECT_EQ(list.size(), 744u);
  std::uint32_t oldest = 0;
  EXPECT_TRUE(list.take_oldest(oldest));
  EXPECT_EQ(oldest, 255u);
  for (std::uint32_t left = 743; left > 0; --left) {
    EXPECT_EQ(list.pop(), 255 + left);
  }
  EXPECT_TRUE(list.empty());
  EXPECT_FALSE(list.take_oldest(oldest));
  list.push(7);
  EXPECT_EQ(list.take_older_half(taken, 8), 1u);
  EXPECT_TRUE(list.empty());
}

// Lanes that poll, each a thread, and a layered graph whose tasks check their predecessors by plain
// memory: a missing order is a data race.
class PlainRun {
 public:
  PlainRun(std::size_t lane_count, std::uint32_t width, std::uint32_t layer_count)
      : width_(width),
        task_count_(width * layer_count),
        ends_(task_count_),
        before_(task_count_),
        successors_(task_count_),
        counters_(task_count_),
        lanes_(lane_count) {
    std::uint32_t bits = 1;
    for (std::uint32_t task = width; task < task_count_; ++task) {
      for (int i = 0; i < 3; ++i) {
        bits = bits * 1664525u + 1013904223u;
        const std::uint32_t other = (task / width - 1) * width + (bits >> 16) % width;
        before_[task].push_back(other);
        successors_[other].push_back(task);
      }
      counters_[task] = 3;
    }
  }

  void begin_round() {
    open_.reset(task_count_);
    next_root_ = 0;
    ended_ = false;
    ++round_;
  }

  void work(std::size_t lane) {
    ReadyList& ready = lanes_[lane].ready;
    std::uint64_t ended = 0;
    while (!ended_.load(std::memory_order_acquire)) {
      if (ready.empty()) {
        if (ended > 0 && open_.end(std::exchange(ended, 0))) {
          ++end_count_;
          ended_.store(true, std::memory_order_release);
          return;
        }
        find_work(lane);
        continue;
      }
      const std::uint32_t task = ready.pop();
      if (!ready.empty() && lanes_[lane].slot.empty()) {
        lanes_[lane].slot.offer(ready);
        static_cast<void>(calls_.call());
      }
      run(ready, task);
      ++ended;
    }
  }

  [[nodiscard]] bool all_ended() const {
    for (const int end : ends_) {
      if (end != round_) {
        return false;
      }
    }
    return end_count_ == round_;
  }
  [[nodiscard]] bool wrong_order() const { return wrong_order_; }

 private:
  struct Lane {
    ReadyList ready;
    OfferSlot<> slot;
  };

  void find_work(std::size_t lane) {
    if (const std::uint32_t root = next_root_.fetch_add(1); root < width_) {
      return lanes_[lane].ready.push(root);
    }
    calls_.enter();
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      if (lanes_[(lane + i) % lanes_.size()].slot.take(lanes_[lane].ready)) {
        break;
      }
    }
    calls_.leave();
    std::this_thread::yield();
  }

  void run(ReadyList& ready, std::uint32_t task) {
    for (const std::uint32_t other : before_[task]) {
      if (ends_[other] != round_) {
        wrong_order_ = true;
      }
    }
    ++ends_[task];
    for (const std::uint32_t successor : successors_[task]) {
      std::uint32_t entry = 0;
      if (count_down</*Alone=*/false>(counters_[successor], successor, entry)) {
        counters_[successor].store(static_cast<std::uint32_t>(before_[successor].size()),
                                   std::memory_order_relaxed);
        ready.push(entry);
      }
    }
  }

  const std::uint32_t width_;
  const std::uint32_t task_count_;
  std::vector<int> ends_;
  std::vector<std::vector<std::uint32_t>> before_;
  std::vector<std::vector<std::uint32_t>> successors_;
  std::vector<std::atomic<std::uint32_t>> counters_;
  std::vector<Lane> lanes_;
  HelperCalls<> calls_;
  OpenTasks<> open_;
  std::atomic<std::uint32_t> next_root_ = 0;
  std::atomic<bool> ended_ = false;
  std::atomic<bool> wrong_order_ = false;
  std::atomic<int> end_count_ = 0;
  int round_ = 0;
};

TEST(Lanes, RunEveryTaskOnceAndInOrderOnPlainThreads) {
  constexpr std::size_t kLanes = 3;
  constexpr int kRounds = 50;
  PlainRun run(kLanes, 64, 20);
  std::barrier together(kLanes);
  std::vector<std::thread> threads;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    threads.emplace_back([&, lane] {
      for (int round = 0; round < kRounds; ++round) {
        if (lane == 0) {
          run.begin_round();
        }
        together.arrive_and_wait();
        run.work(lane);
        together.arrive_and_wait();
        if (lane == 0) {
          EXPECT_TRUE(run.all_ended()) << "round " << round;
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_FALSE(run.wrong_order());
}

}  // namespace
}  // namespace pinion
