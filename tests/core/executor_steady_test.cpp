// Under a steady load the executor allocates nothing and makes no system call on a futex, so that
// it takes no lock that anybody contends for. The program's own operator new counts allocations,
// and the kernel is asked, by a seccomp filter, to trap every futex call of the process.

#include <pinion/core/executor.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "allocation_counter.hpp"
#include "futex_counter.hpp"

// Under the address sanitizer this process was once seen to hang after its last test had passed.
// The leak check is what runs there, and its system calls meet the filter of FutexCounter; that it
// was the cause is likely and not proved. What these tests count are allocations and futex calls,
// not leaks.
extern "C" int __lsan_is_turned_off() {
  return 1;
}

namespace pinion {
namespace {

constexpr std::uint64_t kTaskCount = 200'000;

struct Load {
  explicit Load(Executor& target) : executor(target) {}

  // The largest callable that lies in the queue itself.
  struct Step {
    Load* load;
    std::uint64_t numbers[5];
    void operator()() const noexcept { load->ran.fetch_add(numbers[4], std::memory_order_release); }
  };
  static_assert(sizeof(Step) == 48);

  // Afterwards every worker is at the queue, and stays there.
  void meet_all_workers(std::size_t worker_count) {
    std::atomic<std::size_t> inside = 0;
    std::atomic<std::size_t> ended = 0;
    for (std::size_t i = 0; i < worker_count; ++i) {
      EXPECT_TRUE(executor
                      .submit({},
                              [&, worker_count] {
                                ++inside;
                                while (inside < worker_count) {
                                  std::this_thread::yield();
                                }
                                ++ended;
                              })
                      .ok());
    }
    while (ended < worker_count) {
      std::this_thread::yield();
    }
  }

  void run() {
    const std::uint64_t target = ran + kTaskCount;
    for (std::uint64_t i = 0; i < kTaskCount; ++i) {
      // Never full: a wait for room may sleep, which is not what is counted here.
      while (i - (ran - (target - kTaskCount)) >= 8000) {
        std::this_thread::yield();
      }
      if (!executor.submit({}, Step{this, {0, 0, 0, 0, 1}}).ok()) {
        std::abort();
      }
    }
    while (ran < target) {
      std::this_thread::yield();
    }
  }

  Executor& executor;
  std::atomic<std::uint64_t> ran = 0;
};

class SteadyExecutor : public testing::TestWithParam<std::size_t> {};

TEST_P(SteadyExecutor, AllocatesNothingAndCallsNoFutexUnderLoad) {
  if (const std::string reason = testing_support::FutexCounter::install(); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  const std::unique_ptr<Executor> executor =
      Executor::create({.groups = {{.worker_count = GetParam()}}, .idle_policy = IdlePolicy::kSpin})
          .value();
  Load load(*executor);
  load.meet_all_workers(GetParam());
  load.run();

  const std::uint64_t allocations_before = testing_support::allocation_count();
  const std::uint64_t futexes_before = testing_support::FutexCounter::count();
  const ExecutorEvents events_before = executor->events();
  load.run();
  EXPECT_EQ(testing_support::allocation_count() - allocations_before, 0u);
  EXPECT_EQ(testing_support::FutexCounter::count() - futexes_before, 0u);
  EXPECT_EQ(executor->events(), events_before);
}

INSTANTIATE_TEST_SUITE_P(Workers, SteadyExecutor, testing::Values(1u, 2u));

// What shows that the counters count: a call of a sleeping worker is both.
TEST(SteadyExecutor, AllocatesAndCallsAFutexToWakeAWorker) {
  if (const std::string reason = testing_support::FutexCounter::install(); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  const std::unique_ptr<Executor> executor =
      Executor::create({.groups = {{}}, .idle_policy = IdlePolicy::kPark}).value();
  const std::uint64_t allocations_before = testing_support::allocation_count();
  const std::uint64_t futexes_before = testing_support::FutexCounter::count();
  std::atomic<bool> ran = false;
  ASSERT_TRUE(
      executor->submit({}, [&ran, large = std::array<char, 100>()] { ran = large[0] == 0; }).ok());
  while (!ran || testing_support::FutexCounter::count() == futexes_before) {
    std::this_thread::yield();
  }
  EXPECT_GT(testing_support::allocation_count(), allocations_before);
}

}  // namespace
}  // namespace pinion
