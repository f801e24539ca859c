// The ring, the gate and the tasks of an executor, on plain threads instead of oneTBB's, so that
// they can be run under the thread sanitizer.

#include <pinion/core/detail/drain_gate.hpp>
#include <pinion/core/detail/task.hpp>
#include <pinion/core/detail/task_ring.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace pinion::detail {
namespace {

TEST(Task, RunsOnceAndDestroysItsCallable) {
  const auto owned = std::make_shared<int>(0);
  Task task([owned] { ++*owned; });
  EXPECT_EQ(owned.use_count(), 2);
  Task moved(std::move(task));
  EXPECT_EQ(owned.use_count(), 2);
  moved.run();
  EXPECT_EQ(*owned, 1);
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(Task, DestroysACallableThatNeverRan) {
  const auto owned = std::make_shared<int>(0);
  {
    const Task small([owned] {});
    const Task large([owned, padding = std::array<char, 100>()] { static_cast<void>(padding); });
    EXPECT_EQ(owned.use_count(), 3);
  }
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(TaskDeathTest, DiesWhenItIsRunTwice) {
  EXPECT_DEATH(
      {
        Task task([] {});
        task.run();
        task.run();
      },
      "actions_ != nullptr");
}

TEST(TaskSource, MakesTheTaskOnceOfACallableThatLiesElsewhere) {
  const auto owned = std::make_shared<int>(0);
  auto callable = [held = owned] { ++*held; };
  EXPECT_EQ(owned.use_count(), 2);
  {
    Task first([] {});
    std::destroy_at(&first);
    TaskSource::of(std::move(callable)).make_at(&first);
    EXPECT_EQ(owned.use_count(), 2);  // It was moved, not copied.
    first.run();
  }
  EXPECT_EQ(*owned, 1);
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(TaskSource, CopiesACallableThatStaysWithTheCaller) {
  struct Step {
    int* count;
    void operator()() const { ++*count; }
  };
  int count = 0;
  const Step step{&count};
  static_assert(TaskSource::kTakes<const Step&>);
  Task task([] {});
  std::destroy_at(&task);
  TaskSource::of(step).make_at(&task);
  task.run();
  step();
  EXPECT_EQ(count, 2);
}

TEST(TaskSource, DiscardsTheCallable) {
  const auto owned = std::make_shared<int>(0);
  auto small = [held = owned] {};
  TaskSource::of(std::move(small)).discard();
  EXPECT_EQ(owned.use_count(), 1);

  auto large = [held = owned, padding = std::array<char, 100>()] { static_cast<void>(padding); };
  Task task(std::move(large));
  EXPECT_EQ(owned.use_count(), 2);
  TaskSource::of(std::move(task)).discard();
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(TaskSource, TakesOnlyWhatCannotFail) {
  struct ThrowsOnCopy {
    ThrowsOnCopy() = default;
    ThrowsOnCopy(const ThrowsOnCopy&) noexcept(false) {}
    ThrowsOnCopy(ThrowsOnCopy&&) noexcept {}
    void operator()() const {}
  };
  static_assert(TaskSource::kTakes<ThrowsOnCopy> && !TaskSource::kTakes<const ThrowsOnCopy&>);
  const auto large = [padding = std::array<char, 100>()] { static_cast<void>(padding); };
  static_assert(!TaskSource::kTakes<decltype(large)>);
  static_assert(!TaskSource::kTakes<void (&)()> && TaskSource::kTakes<void (*)()>);
}

TEST(TaskRing, IsFullAtItsCapacityAndDestroysWhatIsLeft) {
  const auto owned = std::make_shared<int>(0);
  {
    TaskRing<Task> ring(4);
    for (int lap = 0; lap < 3; ++lap) {
      for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(ring.size(), static_cast<std::size_t>(i));
        EXPECT_TRUE(ring.try_push(Task([owned] {})));
      }
      Task refused([owned] {});
      EXPECT_FALSE(ring.try_push(std::move(refused)));
      refused.run();  // It is untouched.
      if (lap < 2) {
        while (ring.try_pop()) {
        }
        EXPECT_EQ(owned.use_count(), 1);
      }
    }
    EXPECT_EQ(owned.use_count(), 5);
  }
  EXPECT_EQ(owned.use_count(), 1);
}

// Each item owns memory, so that a doubled or torn item shows; a small ring has many laps.
TEST(TaskRing, KeepsEveryItemOnceBetweenThreads) {
  constexpr std::uint64_t kItems = 20'000;
  constexpr std::size_t kThreads = 3;
  TaskRing<std::unique_ptr<std::uint64_t>> ring(8);
  std::atomic<std::uint64_t> popped_count = 0;
  std::atomic<std::uint64_t> popped_sum = 0;
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        for (std::uint64_t i = 1; i <= kItems; ++i) {
          auto item = std::make_unique<std::uint64_t>(i);
          while (!ring.try_push(std::move(item))) {
            std::this_thread::yield();
          }
        }
      });
      threads.emplace_back([&] {
        while (popped_count < kThreads * kItems) {
          if (const auto item = ring.try_pop()) {
            popped_sum += **item;
            ++popped_count;
          } else {
            std::this_thread::yield();
          }
        }
      });
    }
  }
  EXPECT_EQ(popped_sum, kThreads * kItems * (kItems + 1) / 2);
  EXPECT_EQ(ring.size(), 0u);
}

// A place of an executor as PlaceArena is: threads that sleep until a drainer is called.
class ThreadedPlace {
 public:
  explicit ThreadedPlace(std::uint32_t worker_count) : gate_(worker_count) {
    for (std::uint32_t i = 0; i < worker_count; ++i) {
      workers_.emplace_back([this] { work(); });
    }
  }
  ~ThreadedPlace() {
    stopping_ = true;
    calls_.release(static_cast<std::ptrdiff_t>(workers_.size()));
  }
  ThreadedPlace(const ThreadedPlace&) = delete;
  ThreadedPlace& operator=(const ThreadedPlace&) = delete;

  void submit(Task task) {
    while (!ring_.try_push(std::move(task))) {
      std::this_thread::yield();
    }
    if (gate_.enter()) {
      calls_.release();
    }
  }

  void bulk() {
    gate_.begin_bulk();
    if (gate_.end_bulk()) {
      for (std::size_t i = ring_.size(); i > 0 && gate_.enter(); --i) {
        calls_.release();
      }
    }
  }

 private:
  void work() {
    for (;;) {
      calls_.acquire();
      if (stopping_) {
        return;
      }
      drain();
    }
  }

  void drain() {
    for (;;) {
      if (gate_.bulk_waits()) {
        if (gate_.leave_to_bulk()) {
          return;
        }
      } else if (std::optional<Task> task = ring_.try_pop()) {
        task->run();
      } else if (gate_.leave(ring_)) {
        return;
      } else {
        std::this_thread::yield();
      }
    }
  }

  TaskRing<Task> ring_{16};
  DrainGate<> gate_;
  std::counting_semaphore<> calls_{0};
  std::atomic<bool> stopping_ = false;
  std::vector<std::jthread> workers_;
};

// Waits after every few tasks, so that drainers come and go all the time; a call that is lost would
// let it hang.
TEST(DrainGate, RunsEveryTaskWhileDrainersComeAndGo) {
  ThreadedPlace place(2);
  std::vector<std::jthread> producers;
  for (int p = 0; p < 2; ++p) {
    producers.emplace_back([&place] {
      for (int round = 0; round < 3000; ++round) {
        std::latch done(3);
        std::uint64_t plain = 0;  // Handed over without an atomic of its own.
        place.submit(Task([&] {
          plain = 1;
          done.count_down();
        }));
        place.submit(Task([&done] { done.count_down(); }));
        place.submit(Task([&done] { done.count_down(); }));
        done.wait();
        ASSERT_EQ(plain, 1u);
      }
    });
  }
  for (int i = 0; i < 3000; ++i) {
    place.bulk();
    std::this_thread::yield();
  }
}

}  // namespace
}  // namespace pinion::detail
