// Under a steady load the executor allocates nothing, locks no mutex and makes no system call on a
// futex; nor do metrics and traces that tasks write. The program's own operator new and
// pthread_mutex_lock() count, and the kernel is asked, by a seccomp filter, to trap every futex
// call of the process.

#include <pinion/core/executor.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/metrics.hpp>
#include <pinion/core/trace.hpp>

#include "allocation_counter.hpp"
#include "futex_counter.hpp"
#include "lock_counter.hpp"

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
constexpr std::size_t kRoundCountMax = 20;

struct Load {
  explicit Load(Executor& target) : executor(target) {}

  void step(std::uint64_t number) noexcept {
    const std::size_t worker = executor.current_worker();
    metrics.add(steps, worker, 1);
    metrics.raise(greatest, number);
    trace.record(worker, {.name = "step", .id = number});
    no_trace.record(worker, {.name = "step", .id = number});
    ran.fetch_add(number, std::memory_order_release);
  }

  // The largest callable that lies in the queue itself.
  struct Step {
    Load* load;
    std::uint64_t numbers[5];
    void operator()() const noexcept { load->step(numbers[4]); }
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
  Metrics metrics{executor.worker_count()};
  const CounterId steps = metrics.counter("steps");
  const GaugeId greatest = metrics.gauge("greatest");
  Trace trace{{.enabled = true, .span_count_max = 1000}, executor.worker_count()};
  Trace no_trace{{}, executor.worker_count()};
  std::atomic<std::uint64_t> ran = 0;
};

// What happened in a round beside the tasks.
struct Cost {
  std::uint64_t allocation_count = 0;
  std::uint64_t lock_count = 0;
  std::uint64_t futex_count = 0;
  std::uint64_t event_count = 0;

  static Cost of(const Executor& executor) {
    const ExecutorEvents events = executor.events();
    return {testing_support::allocation_count(), testing_support::lock_count(),
            testing_support::FutexCounter::count(),
            events.call_count + events.leave_count + events.yield_count + events.full_count +
                events.misbound_count};
  }
  friend Cost operator-(const Cost& after, const Cost& before) {
    return {after.allocation_count - before.allocation_count, after.lock_count - before.lock_count,
            after.futex_count - before.futex_count, after.event_count - before.event_count};
  }
  friend bool operator==(const Cost&, const Cost&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Cost& cost) {
    return out << cost.allocation_count << " allocations, " << cost.lock_count << " locks, "
               << cost.futex_count << " futex calls, " << cost.event_count
               << " events of the executor";
  }
};

class SteadyExecutor : public testing::TestWithParam<std::size_t> {};

TEST_P(SteadyExecutor, AllocatesNothingLocksNothingAndCallsNoFutexUnderLoad) {
  if (const std::string reason = testing_support::FutexCounter::install(); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  const std::unique_ptr<Executor> executor =
      Executor::create({.groups = {{.worker_count = GetParam()}}, .idle_policy = IdlePolicy::kSpin})
          .value();
  Load load(*executor);
  load.meet_all_workers(GetParam());

  // A worker that the system stops between taking a task and freeing its cell makes the ring look
  // full a lap later, and the producer sleeps; a thread of oneTBB's may be late to find nothing to
  // do. Both end: what belongs to the load itself shows in every round.
  std::vector<Cost> rounds;
  while (rounds.size() < kRoundCountMax && (rounds.empty() || rounds.back() != Cost{})) {
    const Cost before = Cost::of(*executor);
    load.run();
    rounds.push_back(Cost::of(*executor) - before);
  }
  EXPECT_EQ(rounds.back(), Cost{}) << "no round of " << rounds.size() << " was without cost";
  EXPECT_EQ(load.metrics.total(load.steps), rounds.size() * kTaskCount);
  EXPECT_GE(load.trace.overwritten(), rounds.size() * kTaskCount - GetParam() * 1000);
  EXPECT_EQ(load.no_trace.overwritten(), 0u);
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

TEST(SteadyExecutor, WouldBeSeenToLockAMutexThatNobodyElseWants) {
  std::mutex mutex;
  const std::uint64_t before = testing_support::lock_count();
  { const std::lock_guard lock(mutex); }
  EXPECT_GT(testing_support::lock_count(), before);
}

}  // namespace
}  // namespace pinion
