// What the executor does when the system does not keep its workers to their CPUs.

#include <pinion/core/executor.hpp>

#include <chrono>
#include <cstddef>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/clock.hpp>
#include <pinion/core/detail/cpu_list.hpp>

#include "affinity_fault.hpp"
#include "worker_binding.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using testing_support::AffinityFault;
using testing_support::AffinityFaultKind;

constexpr Place kFirst{.index = 0};
constexpr Place kSecond{.index = 1};

// As the workers of a group that has none of its own.
std::vector<unsigned> allowed_cpus() {
  return Executor::create({.groups = {{}}}).value()->bindings().front().cpus;
}

Status error_of(const WorkerGroup& group) {
  const Result<std::unique_ptr<Executor>> executor = Executor::create({.groups = {group}});
  return executor ? Status() : executor.error();
}

void run_and_wait(Executor& executor, Place place) {
  std::latch done(1);
  ASSERT_TRUE(executor.submit(place, [&done] { done.count_down(); }).ok());
  done.wait();
}

TEST(WorkerBinding, DoesNotStartWhenTheSystemRefusesToBindAWorker) {
  const unsigned cpu = allowed_cpus().front();
  const AffinityFault fault(AffinityFaultKind::kRefuse);
  EXPECT_EQ(error_of({.place = kFirst, .cpus = {cpu}}).to_string(),
            "FAILED_PRECONDITION: worker 0 is to run on CPUs " + std::to_string(cpu) +
                " and cannot be bound to them: Operation not permitted; look at what this process "
                "may use by now (taskset, the cgroup's cpuset) [errno 1]");
}

TEST(WorkerBinding, DoesNotStartWhenTheSystemHasAWorkerOnOtherCpus) {
  const std::vector<unsigned> allowed = allowed_cpus();
  if (allowed.size() < 2) {
    GTEST_SKIP() << "this process may use one CPU; two tell what was asked for from what is so";
  }
  const AffinityFault fault(AffinityFaultKind::kNarrow);
  const Status status = error_of({.place = kFirst, .worker_count = 2, .shared_cpus = allowed});
  EXPECT_EQ(status.code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(status.message(),
              StartsWith("worker 0 is to run on CPUs " + detail::to_cpu_list(allowed) +
                         " and the system has it run on " + std::to_string(allowed.front()) + ";"));
}

TEST(WorkerBinding, PromisesNothingOfWorkersThatAreNotBound) {
  const AffinityFault fault(AffinityFaultKind::kNarrow);
  EXPECT_TRUE(error_of({.place = kFirst, .worker_count = 2}).ok());
}

TEST(WorkerBinding, NeedsNoLeaveOfTheSystemWhereWorkersAreNotBound) {
  const AffinityFault fault(AffinityFaultKind::kRefuse);
  EXPECT_TRUE(error_of({.place = kFirst, .worker_count = 2}).ok());
}

TEST(BindingTable, KeepsTheWordsOfTheFirstTimeAndTheCpusOfTheLast) {
  BindingTable table(2);
  EXPECT_TRUE(table.status().ok());
  table.set({.worker = 1, .cpus = {3}, .status = {ErrorCode::kFailedPrecondition, "first"}});
  table.set({.worker = 1, .cpus = {4}, .status = {ErrorCode::kFailedPrecondition, "second"}});
  table.set({.worker = 1, .cpus = {5}});
  table.set({.worker = 0, .cpus = {6}});
  EXPECT_EQ(table.misbound_count(), 2u);
  EXPECT_EQ(table.status().message(), "first");
  EXPECT_EQ(table.bindings()[1].status.message(), "first");
  EXPECT_EQ(table.bindings()[1].cpus, std::vector<unsigned>{5});
  EXPECT_TRUE(table.bindings()[0].status.ok());
}

// oneTBB's threads leave an arena that has no work, and the next one that comes is bound again.
TEST(WorkerBinding, SaysThatAWorkerWasNotBoundWhenAThreadCameInLater) {
  const std::vector<unsigned> allowed = allowed_cpus();
  const std::unique_ptr<Executor> executor =
      Executor::create({.groups = {{.place = kFirst, .cpus = {allowed.front()}},
                                   {.place = kSecond, .cpus = {allowed.back()}}},
                        .idle_policy = IdlePolicy::kPark})
          .value();
  EXPECT_EQ(executor->events().misbound_count, 0u);
  for (const WorkerBinding& binding : executor->bindings()) {
    EXPECT_TRUE(binding.status.ok()) << binding.status.to_string();
  }
  const auto run_until_misbound = [&](std::size_t count) {
    const AffinityFault fault(AffinityFaultKind::kRefuse);
    const SystemClock clock;
    const Instant deadline = clock.now() + std::chrono::minutes(1);
    while (executor->events().misbound_count < count) {
      ASSERT_LT(clock.now(), deadline) << "no thread came in any more";
      const std::uint64_t leave_count = executor->events().leave_count;
      run_and_wait(*executor, kFirst);
      run_and_wait(*executor, kSecond);
      while (executor->events().leave_count == leave_count && clock.now() < deadline) {
        std::this_thread::yield();
      }
    }
  };
  run_until_misbound(1);
  std::string words;
  for (const WorkerBinding& binding : executor->bindings()) {
    if (!binding.status.ok()) {
      EXPECT_EQ(binding.status.code(), ErrorCode::kFailedPrecondition);
      words += binding.status.message();
    }
  }
  EXPECT_THAT(words, HasSubstr("cannot be bound to them: Operation not permitted"));
  run_until_misbound(executor->events().misbound_count + 1);  // It goes on, and goes on counting.
}

}  // namespace
}  // namespace pinion
