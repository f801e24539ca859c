#include <pinion/core/executor.hpp>

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <latch>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <oneapi/tbb/global_control.h>

#include <pinion/core/completion.hpp>

namespace pinion {
namespace {

using testing::HasSubstr;

constexpr Place kFirst{.index = 0};
constexpr Place kSecond{.index = 1};

std::unique_ptr<Executor> make_executor(std::vector<WorkerGroup> groups) {
  return Executor::create({.groups = std::move(groups)}).value();
}

// One group a count, at places 0, 1, ...
std::vector<WorkerGroup> groups_of(const std::vector<std::size_t>& worker_counts) {
  std::vector<WorkerGroup> groups;
  for (const std::size_t count : worker_counts) {
    groups.push_back(
        {.place = {.index = static_cast<std::uint16_t>(groups.size())}, .worker_count = count});
  }
  return groups;
}

std::vector<unsigned> affinity_of_this_thread() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(::sched_getaffinity(0, sizeof(set), &set), 0);
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

// Binds the calling thread for a while.
class NarrowAffinity {
 public:
  explicit NarrowAffinity(unsigned cpu) {
    EXPECT_EQ(::sched_getaffinity(0, sizeof(before_), &before_), 0);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    EXPECT_EQ(::sched_setaffinity(0, sizeof(set), &set), 0);
  }
  ~NarrowAffinity() { EXPECT_EQ(::sched_setaffinity(0, sizeof(before_), &before_), 0); }
  NarrowAffinity(const NarrowAffinity&) = delete;
  NarrowAffinity& operator=(const NarrowAffinity&) = delete;

 private:
  cpu_set_t before_{};
};

// Threads of this process less those that are at their end: one that was joined is still listed for
// a moment.
std::ptrdiff_t thread_count() {
  constexpr unsigned kExiting = 0x4;  // PF_EXITING of the kernel, set before a join returns.
  std::ptrdiff_t count = 0;
  std::error_code gone;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", gone)) {
    std::ifstream file(task.path() / "stat");
    std::ostringstream whole;
    whole << file.rdbuf();  // An iterator would throw when the thread ends meanwhile.
    const std::string text = whole.str();
    std::istringstream fields(text.substr(std::min(text.rfind(')') + 1, text.size())));
    std::string skipped;
    unsigned flags = kExiting;  // Of a thread that has gone meanwhile.
    for (int field = 3; field < 9; ++field) {
      fields >> skipped;
    }
    fields >> flags;
    count += fields && (flags & kExiting) == 0 ? 1 : 0;
  }
  return count;
}

// Gives each worker of `executor` one task, which ends when all of them run. Hangs if they cannot.
void meet_all_workers(Executor& executor) {
  std::latch all_inside(static_cast<std::ptrdiff_t>(executor.worker_count()));
  std::latch all_done(static_cast<std::ptrdiff_t>(executor.worker_count()));
  for (const WorkerGroup& group : executor.groups()) {
    for (std::size_t i = 0; i < group.worker_count; ++i) {
      ASSERT_TRUE(executor
                      .submit(group.place,
                              [&] {
                                all_inside.arrive_and_wait();
                                all_done.count_down();
                              })
                      .ok());
    }
  }
  all_done.wait();
}

// Runs `body` on a worker of `place` and waits for it.
template <class Body>
void run_and_wait(Executor& executor, Place place, Body body) {
  std::latch done(1);
  ASSERT_TRUE(executor
                  .submit(place,
                          [&] {
                            body();
                            done.count_down();
                          })
                  .ok());
  done.wait();
}

class ExecutorOfGroups : public testing::TestWithParam<std::vector<std::size_t>> {};

TEST_P(ExecutorOfGroups, RunsOneResidentTaskAWorkerAtTheSameTime) {
  const std::unique_ptr<Executor> executor = make_executor(groups_of(GetParam()));
  // Again, because the threads leave the arenas between and must all come back.
  const int round_count = executor->worker_count() > 100 ? 2 : 20;
  for (int round = 0; round < round_count; ++round) {
    meet_all_workers(*executor);
  }
}

TEST_P(ExecutorOfGroups, LeavesNoThreadBehind) {
  const std::ptrdiff_t before = thread_count();
  make_executor(groups_of(GetParam()));
  EXPECT_EQ(thread_count(), before);
}

INSTANTIATE_TEST_SUITE_P(Shapes, ExecutorOfGroups,
                         testing::Values(std::vector<std::size_t>{1}, std::vector<std::size_t>{2},
                                         std::vector<std::size_t>{9},
                                         std::vector<std::size_t>{1, 1, 1},
                                         std::vector<std::size_t>{3, 1, 2},
                                         std::vector<std::size_t>{260, 20}),
                         [](const auto& shape) {
                           std::string name = "Workers";
                           for (const std::size_t count : shape.param) {
                             name += "_" + std::to_string(count);
                           }
                           return name;
                         });

TEST(Executor, RunsAllWorkersWhenTheProcessMayUseOneCpu) {
  const NarrowAffinity narrow(affinity_of_this_thread().front());
  const std::unique_ptr<Executor> executor = make_executor(groups_of({3, 1}));
  meet_all_workers(*executor);
}

// oneTBB has one pool of threads a process; neither executor may starve the other.
TEST(Executor, RunsAllWorkersBesideAnotherExecutor) {
  const std::unique_ptr<Executor> small = make_executor(groups_of({1}));
  const std::unique_ptr<Executor> large = make_executor(groups_of({4}));
  std::latch large_done(1);
  std::latch small_started(1);
  ASSERT_TRUE(small
                  ->submit(kFirst,
                           [&] {
                             small_started.count_down();
                             large_done.wait();
                           })
                  .ok());
  small_started.wait();
  meet_all_workers(*large);
  large_done.count_down();
}

TEST(Executor, RunsAllWorkersAfterAnotherExecutorHasEnded) {
  const std::unique_ptr<Executor> stays = make_executor(groups_of({3}));
  make_executor(groups_of({2}));
  meet_all_workers(*stays);
}

TEST(Executor, RunsAcceptedTasksBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    const std::unique_ptr<Executor> executor = make_executor(groups_of({1}));
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(executor->submit(kFirst, [&ran] { ++ran; }).ok());
    }
  }
  EXPECT_EQ(ran, 1000);
}

TEST(Executor, RunsWhatItsLastTasksSubmit) {
  std::atomic<int> ran = 0;
  {
    const std::unique_ptr<Executor> executor = make_executor(groups_of({1, 1}));
    Executor* const target = executor.get();
    ASSERT_TRUE(target
                    ->submit(kFirst,
                             [&ran, target] {
                               ++ran;
                               const Status status = target->submit(kSecond, [&ran] { ++ran; });
                               EXPECT_TRUE(status.ok());
                             })
                    .ok());
  }
  EXPECT_EQ(ran, 2);
}

TEST(Executor, DestroysTheTasksBeforeItEnds) {
  const auto owned = std::make_shared<int>(0);
  {
    const std::unique_ptr<Executor> executor = make_executor(groups_of({2}));
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(executor->submit(kFirst, [owned] {}).ok());
    }
  }
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(Executor, NeverRunsATaskInsideSubmit) {
  const std::unique_ptr<Executor> executor = make_executor(groups_of({1}));
  std::latch inner_done(1);
  run_and_wait(*executor, kFirst, [&] {
    ASSERT_TRUE(executor->submit(kFirst, [&] { inner_done.count_down(); }).ok());
    EXPECT_FALSE(inner_done.try_wait());
  });
  inner_done.wait();
}

TEST(Executor, RunsATaskOnAWorkerOfItsPlace) {
  const std::unique_ptr<Executor> executor = make_executor(groups_of({2, 3}));
  for (int i = 0; i < 50; ++i) {
    run_and_wait(*executor, kFirst, [&] { EXPECT_LT(executor->current_worker(), 2u); });
    run_and_wait(*executor, kSecond, [&] {
      EXPECT_GE(executor->current_worker(), 2u);
      EXPECT_LT(executor->current_worker(), 5u);
    });
  }
}

TEST(Executor, NumbersItsWorkersInTheOrderOfTheGroups) {
  const std::unique_ptr<Executor> executor = make_executor(groups_of({2, 1, 3}));
  std::latch all_inside(6);
  std::vector<std::atomic<int>> place_of_worker(6);
  for (const WorkerGroup& group : executor->groups()) {
    for (std::size_t i = 0; i < group.worker_count; ++i) {
      ASSERT_TRUE(executor
                      ->submit(group.place,
                               [&, place = group.place.index] {
                                 place_of_worker.at(executor->current_worker()) += 1 + place;
                                 all_inside.arrive_and_wait();
                               })
                      .ok());
    }
  }
  all_inside.wait();
  EXPECT_EQ(std::vector<int>(place_of_worker.begin(), place_of_worker.end()),
            (std::vector<int>{1, 1, 2, 3, 3, 3}));
}

TEST(Executor, CountsNoWorkerOnOtherThreads) {
  const std::unique_ptr<Executor> executor = make_executor(groups_of({2}));
  const std::unique_ptr<Executor> other = make_executor(groups_of({5}));
  EXPECT_EQ(executor->current_worker(), executor->worker_count());
  run_and_wait(*other, kFirst,
               [&] { EXPECT_EQ(executor->current_worker(), executor->worker_count()); });
}

TEST(Executor, BindsWorkersToTheirCpusInACycle) {
  const std::vector<unsigned> allowed = affinity_of_this_thread();
  const std::size_t count = 2 * allowed.size() + 1;
  const std::unique_ptr<Executor> executor =
      make_executor({{.place = kSecond, .cpus = allowed, .worker_count = count}});

  const std::vector<WorkerBinding> bindings = executor->bindings();

  ASSERT_EQ(bindings.size(), count);
  for (std::size_t worker = 0; worker < count; ++worker) {
    EXPECT_EQ(bindings[worker].worker, worker);
    EXPECT_EQ(bindings[worker].place, kSecond);
    EXPECT_EQ(bindings[worker].cpus, std::vector<unsigned>{allowed[worker % allowed.size()]});
  }
}

TEST(Executor, BindsEveryWorkerOfAGroupToAllCpusThatTheyShare) {
  const std::vector<unsigned> allowed = affinity_of_this_thread();
  const std::unique_ptr<Executor> executor =
      make_executor({{.place = kFirst, .worker_count = 2, .shared_cpus = {allowed.back()}},
                     {.place = kSecond, .worker_count = 2, .shared_cpus = allowed}});
  for (const WorkerBinding& binding : executor->bindings()) {
    EXPECT_EQ(binding.cpus,
              binding.place == kFirst ? std::vector<unsigned>{allowed.back()} : allowed);
  }
}

TEST(Executor, LeavesWorkersUnboundWithoutCpus) {
  const std::unique_ptr<Executor> executor = make_executor(groups_of({2}));
  for (const WorkerBinding& binding : executor->bindings()) {
    EXPECT_EQ(binding.cpus, affinity_of_this_thread());
  }
}

// oneTBB lends one group's threads to the next.
TEST(Executor, BindsAThreadAgainWhenItChangesGroups) {
  const std::vector<unsigned> allowed = affinity_of_this_thread();
  const std::unique_ptr<Executor> executor =
      make_executor({{.place = kFirst, .cpus = {allowed.front()}, .worker_count = 1},
                     {.place = kSecond, .cpus = {allowed.back()}, .worker_count = 1},
                     {.place = {.index = 2}, .worker_count = 1}});
  for (int i = 0; i < 100; ++i) {
    run_and_wait(*executor, kFirst, [&] {
      EXPECT_EQ(affinity_of_this_thread(), std::vector<unsigned>{allowed.front()});
    });
    run_and_wait(*executor, kSecond, [&] {
      EXPECT_EQ(affinity_of_this_thread(), std::vector<unsigned>{allowed.back()});
    });
    run_and_wait(*executor, {.index = 2}, [&] { EXPECT_EQ(affinity_of_this_thread(), allowed); });
  }
}

TEST(Executor, AnswersForItsGroups) {
  const std::unique_ptr<Executor> executor = make_executor(groups_of({2, 3}));
  EXPECT_EQ(executor->worker_count(), 5u);
  const std::vector<WorkerGroup> groups = executor->groups();
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[1].place, kSecond);
  EXPECT_EQ(groups[1].worker_count, 3u);
}

TEST(Executor, RefusesAPlaceThatItDoesNotHave) {
  const std::unique_ptr<Executor> executor = make_executor(groups_of({1}));
  const Status status =
      executor->submit({.kind = PlaceKind::kDevice, .index = 4, .host = 2}, [] {});
  EXPECT_EQ(status.to_string(),
            "INVALID_ARGUMENT: no worker group has place device 4 of host 2; name a place of the "
            "executor's options");
}

Status error_of(const ExecutorOptions& options) {
  const Result<std::unique_ptr<Executor>> executor = Executor::create(options);
  return executor ? Status() : executor.error();
}

TEST(ExecutorCreate, RefusesNoGroups) {
  EXPECT_EQ(error_of({}).to_string(),
            "INVALID_ARGUMENT: the options have no worker group; an executor needs at least one");
}

TEST(ExecutorCreate, RefusesAGroupWithoutWorkers) {
  EXPECT_EQ(error_of({.groups = groups_of({1, 0})}).to_string(),
            "INVALID_ARGUMENT: the group of place numa 1 of host 0 has worker_count 0; it must be "
            "at least 1");
}

TEST(ExecutorCreate, RefusesDistancesThatAreNotOfAllGroups) {
  std::vector<WorkerGroup> groups = groups_of({1, 1});
  groups[1].distances = {20, 10, 30};
  EXPECT_EQ(
      error_of({.groups = groups}).to_string(),
      "INVALID_ARGUMENT: the group of place numa 1 of host 0 has 3 distances; it must have one "
      "for each of the 2 groups, or none");
}

TEST(ExecutorCreate, RefusesAPlaceTwice) {
  const Status status = error_of({.groups = {{.place = kFirst}, {.place = kFirst}}});
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("numa 0 of host 0 is there twice"));
}

TEST(ExecutorCreate, RefusesACpuOutsideTheAffinityMaskAndNamesBoth) {
  const unsigned cpu = affinity_of_this_thread().front();
  const NarrowAffinity narrow(cpu);
  for (const unsigned other : {cpu + 1, 100'000u}) {
    const Status status = error_of({.groups = {{.place = kFirst, .cpus = {cpu, other}}}});
    EXPECT_EQ(status.code(), ErrorCode::kPermissionDenied);
    EXPECT_THAT(status.message(), HasSubstr("asks for CPU " + std::to_string(other) + ";"));
    EXPECT_THAT(status.message(), HasSubstr("may use CPUs " + std::to_string(cpu) + " ("));
    EXPECT_EQ(error_of({.groups = {{.place = kFirst, .shared_cpus = {cpu, other}}}}).message(),
              status.message());
  }
}

TEST(ExecutorCreate, RefusesMoreWorkersThanAnyMachineHas) {
  EXPECT_EQ(error_of({.groups = groups_of({1, SIZE_MAX})}).code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(error_of({.groups = groups_of({4096, 1})}).code(), ErrorCode::kResourceExhausted);
}

TEST(ExecutorCreate, RefusesAProgramThatLimitsOneTbbBelowItsNeed) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 2);
  const Status status = error_of({.groups = groups_of({3})});
  EXPECT_EQ(status.code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("allows 1 worker threads and the executors need 3"));
}

TEST(ExecutorDeathTest, DiesWhenItIsDestroyedInsideItsTask) {
  EXPECT_DEATH(
      {
        Executor* const executor = make_executor(groups_of({1})).release();
        std::latch never(1);
        static_cast<void>(executor->submit(kFirst, [executor] { delete executor; }));
        never.wait();
      },
      "current_worker\\(\\) == worker_count\\(\\)");
}

TEST(ExecutorDeathTest, DiesWhenAWorkerWouldBlockOnACompletion) {
  EXPECT_DEATH(
      {
        const std::unique_ptr<Executor> executor = make_executor(groups_of({1}));
        const CompletionSource source;
        const Completion completion = source.completion();
        static_cast<void>(executor->submit(kFirst, [completion] { completion.wait(); }));
        std::latch(1).wait();
      },
      "inside_task");
}

}  // namespace
}  // namespace pinion
