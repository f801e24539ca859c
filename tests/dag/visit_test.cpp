// How visits come, leave and end a run, on plain threads, which the sanitizer of data races
// understands. What the parts guard is plain memory: a missing order is a data race.

#include "visit.hpp"

#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

TEST(ReadyList, TakesAllOfAnother) {
  ReadyList list;
  ReadyList other;
  list.take_all(other);
  EXPECT_TRUE(list.empty());
  other.push(1);
  other.push(2);
  list.take_all(other);
  EXPECT_TRUE(other.empty());
  other.push(3);
  list.take_all(other);
  EXPECT_TRUE(other.empty());
  EXPECT_EQ(list.size(), 3u);
  std::uint32_t entry = 0;
  for (std::uint32_t expected = 1; list.take_oldest(entry); ++expected) {
    EXPECT_EQ(entry, expected);
  }
}

// Senders put tasks into an inbox; whoever is called visits a lane.
class PlainPlace {
 public:
  explicit PlainPlace(std::uint32_t task_count) : runs_(task_count) {}

  void send(std::uint32_t task) {
    bool is_first = false;
    {
      const std::lock_guard lock(mutex_);
      is_first = inbox_.put(task);
    }
    calls_ += is_first ? 1 : 0;
  }

  void work(std::size_t worker) {
    while (run_count_ < runs_.size()) {
      int waiting = calls_;
      if (waiting > 0 && calls_.compare_exchange_strong(waiting, waiting - 1)) {
        visit(worker);
      } else {
        std::this_thread::yield();
      }
    }
  }

  void check() const {
    for (const int count : runs_) {
      ASSERT_EQ(count, 1);
    }
    EXPECT_EQ(lanes_[0].run_count + lanes_[1].run_count, runs_.size());
  }

 private:
  struct Lane {
    LaneDoor<> door;
    ReadyList ready;
    std::uint64_t run_count = 0;
  };

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
    {
      const std::lock_guard lock(mutex_);
      inbox_.take(lane.ready);
    }
    while (!lane.ready.empty()) {
      ++runs_[lane.ready.pop()];
      ++lane.run_count;
      ++run_count_;
    }
  }

  std::vector<Lane> lanes_ = std::vector<Lane>(2);
  Inbox<> inbox_;
  std::mutex mutex_;
  std::atomic<int> calls_ = 0;
  std::atomic<std::uint64_t> run_count_ = 0;
  std::vector<int> runs_;
};

TEST(Visits, BringEveryTaskToAWorkerOnPlainThreads) {
  constexpr std::uint32_t kTasksEach = 5000;
  constexpr std::uint32_t kSenders = 2;
  PlainPlace place(kSenders * kTasksEach);
  std::vector<std::thread> threads;
  for (std::uint32_t sender = 0; sender < kSenders; ++sender) {
    threads.emplace_back([&place, sender] {
      for (std::uint32_t i = 0; i < kTasksEach; ++i) {
        place.send(sender * kTasksEach + i);
      }
    });
  }
  for (std::size_t worker = 0; worker < 3; ++worker) {
    threads.emplace_back([&place, worker] { place.work(worker); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  place.check();
}

// Visits come again and again, each into a lane of its own, and one thread cancels: whoever closes
// the run sees all that was done, and nobody does anything afterwards.
TEST(Visits, EndACancelledRunOnceOnPlainThreads) {
  constexpr std::size_t kThreads = 3;
  constexpr int kRounds = 200;
  Strands<> strands;
  std::atomic<bool> cancelled = false;
  std::atomic<int> end_count = 0;
  std::vector<std::uint64_t> work_of(kThreads);
  std::uint64_t seen_at_end = 0;
  std::barrier together(kThreads);

  const auto visit_until_the_end = [&](std::size_t self) {
    for (int visits = 0; strands.enter(); ++visits) {
      if (!cancelled) {
        ++work_of[self];
      }
      if (self == 0 && visits == 20) {
        cancelled = true;
      }
      if (strands.leave() && cancelled && strands.close_empty()) {
        for (const std::uint64_t work : work_of) {
          seen_at_end += work;
        }
        ++end_count;
      }
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t self = 0; self < kThreads; ++self) {
    threads.emplace_back([&, self] {
      for (int round = 1; round <= kRounds; ++round) {
        if (self == 0) {
          strands.reset();
          cancelled = false;
          seen_at_end = 0;
        }
        together.arrive_and_wait();
        visit_until_the_end(self);
        together.arrive_and_wait();
        if (self == 0) {
          EXPECT_EQ(end_count, round);
          EXPECT_EQ(seen_at_end, work_of[0] + work_of[1] + work_of[2]);
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

}  // namespace
}  // namespace pinion
