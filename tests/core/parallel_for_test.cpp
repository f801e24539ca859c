#include <pinion/core/executor.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <latch>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/completion.hpp>

namespace pinion {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr Place kFirst{.index = 0};
constexpr Place kSecond{.index = 1};

std::unique_ptr<Executor> make_executor(const std::vector<std::size_t>& worker_counts) {
  ExecutorOptions options;
  for (const std::size_t count : worker_counts) {
    options.groups.push_back({.place = {.index = static_cast<std::uint16_t>(options.groups.size())},
                              .worker_count = count});
  }
  return Executor::create(options).value();
}

// How often each index ran.
class Marks {
 public:
  explicit Marks(std::size_t size) : counts_(size) {}
  void mark(std::size_t i) { counts_.at(i).fetch_add(1, std::memory_order_relaxed); }
  void expect_once(std::size_t begin, std::size_t end) const {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      ASSERT_EQ(counts_[i], i >= begin && i < end ? 1 : 0) << i;
    }
  }
  [[nodiscard]] std::size_t total() const {
    std::size_t total = 0;
    for (const std::atomic<int>& count : counts_) {
      total += static_cast<std::size_t>(count);
    }
    return total;
  }

 private:
  std::vector<std::atomic<int>> counts_;
};

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

class ParallelForOfGroups : public testing::TestWithParam<std::vector<std::size_t>> {};

TEST_P(ParallelForOfGroups, RunsEachIndexOnce) {
  const std::unique_ptr<Executor> executor = make_executor(GetParam());
  for (const std::size_t size : {0u, 1u, 2u, 3u, 7u, 100u, 10'000u}) {
    for (const std::size_t grain : {1u, 13u, 100'000u}) {
      Marks everywhere(size + 5);
      EXPECT_TRUE(executor
                      ->parallel_for({5, 5 + size}, [&](std::size_t i) { everywhere.mark(i); },
                                     {.grain = grain})
                      .ok());
      everywhere.expect_once(5, 5 + size);

      Marks at_place(size);
      EXPECT_TRUE(executor
                      ->parallel_for(kFirst, {0, size},
                                     [&](IndexRange range) {
                                       EXPECT_LT(range.begin, range.end);
                                       for (std::size_t i = range.begin; i < range.end; ++i) {
                                         at_place.mark(i);
                                       }
                                     },
                                     {.grain = grain})
                      .ok());
      at_place.expect_once(0, size);
    }
  }
}

TEST_P(ParallelForOfGroups, RunsEachIndexOnceFromAWorker) {
  const std::unique_ptr<Executor> executor = make_executor(GetParam());
  for (const WorkerGroup& group : executor->groups()) {
    Marks marks(1000);
    run_and_wait(*executor, group.place, [&] {
      EXPECT_TRUE(executor->parallel_for({0, 1000}, [&](std::size_t i) { marks.mark(i); }).ok());
    });
    marks.expect_once(0, 1000);
  }
}

TEST_P(ParallelForOfGroups, Nests) {
  const std::unique_ptr<Executor> executor = make_executor(GetParam());
  Marks marks(100 * 100);
  EXPECT_TRUE(executor
                  ->parallel_for({0, 100},
                                 [&](std::size_t i) {
                                   EXPECT_TRUE(executor
                                                   ->parallel_for({0, 100},
                                                                  [&](std::size_t j) {
                                                                    marks.mark(100 * i + j);
                                                                  })
                                                   .ok());
                                 })
                  .ok());
  marks.expect_once(0, 100 * 100);
}

INSTANTIATE_TEST_SUITE_P(Shapes, ParallelForOfGroups,
                         testing::Values(std::vector<std::size_t>{1}, std::vector<std::size_t>{2},
                                         std::vector<std::size_t>{1, 1},
                                         std::vector<std::size_t>{3, 1, 2}),
                         [](const auto& shape) {
                           std::string name = "Workers";
                           for (const std::size_t count : shape.param) {
                             name += "_" + std::to_string(count);
                           }
                           return name;
                         });

TEST(ParallelFor, SplitsTheLargestRange) {
  const std::unique_ptr<Executor> executor = make_executor({1, 2});
  std::atomic<std::size_t> total = 0;
  EXPECT_TRUE(executor
                  ->parallel_for({0, SIZE_MAX},
                                 [&](IndexRange range) { total += range.end - range.begin; },
                                 {.grain = SIZE_MAX / 64})
                  .ok());
  EXPECT_EQ(total, SIZE_MAX);
}

TEST(ParallelFor, RunsOnTheWorkersOfItsPlace) {
  const std::unique_ptr<Executor> executor = make_executor({2, 3});
  EXPECT_TRUE(executor
                  ->parallel_for(kSecond, {0, 10'000},
                                 [&](std::size_t) {
                                   EXPECT_GE(executor->current_worker(), 2u);
                                   EXPECT_LT(executor->current_worker(), 5u);
                                 })
                  .ok());
}

// The places whose indices the worker of place `home` runs in a loop over all places, in the order
// in which it comes to them, while the workers of the others are held in the first piece of theirs.
std::vector<std::size_t> places_helped_by(
    std::size_t home, const std::vector<std::vector<std::uint64_t>>& distances) {
  constexpr std::size_t kIndicesOfPlace = 64;
  ExecutorOptions options;
  for (const std::vector<std::uint64_t>& row : distances) {
    options.groups.push_back(
        {.place = {.index = static_cast<std::uint16_t>(options.groups.size())}, .distances = row});
  }
  const std::unique_ptr<Executor> executor = Executor::create(options).value();
  std::latch others_are_held(static_cast<std::ptrdiff_t>(distances.size() - 1));
  std::atomic<bool> is_released = false;
  std::vector<std::size_t> places;
  EXPECT_TRUE(executor
                  ->parallel_for({0, distances.size() * kIndicesOfPlace},
                                 [&](std::size_t i) {
                                   if (executor->current_worker() != home) {
                                     if (!is_released) {
                                       others_are_held.count_down();
                                       is_released.wait(false);
                                     }
                                     return;
                                   }
                                   others_are_held.wait();
                                   if (places.empty() || places.back() != i / kIndicesOfPlace) {
                                     places.push_back(i / kIndicesOfPlace);
                                   }
                                   if (places.size() == distances.size()) {
                                     is_released = true;
                                     is_released.notify_all();
                                   }
                                 })
                  .ok());
  return places;
}

TEST(ParallelFor, HelpsTheNearestPlaceFirst) {
  const std::vector<std::vector<std::uint64_t>> distances = {
      {10, 40, 20, 30}, {20, 10, 20, 20}, {}, {20, 20, 10, 99}};
  EXPECT_EQ(places_helped_by(0, distances), (std::vector<std::size_t>{0, 2, 3, 1}));
  EXPECT_EQ(places_helped_by(3, distances), (std::vector<std::size_t>{3, 2, 0, 1}));
}

TEST(ParallelFor, HelpsTheNextPlaceFirstWhereNoneIsKnownToBeNearer) {
  const std::vector<std::vector<std::uint64_t>> distances = {{}, {20, 10, 20, 20}, {}, {}};
  EXPECT_EQ(places_helped_by(1, distances), (std::vector<std::size_t>{1, 2, 3, 0}));
  EXPECT_EQ(places_helped_by(2, distances), (std::vector<std::size_t>{2, 3, 0, 1}));
}

// The bodies wait for each other, so the loop ends only if all workers of the place take part,
// those that sleep, those that poll the queue, and the caller when it is one.
TEST(ParallelFor, UsesAllWorkersOfThePlace) {
  constexpr std::size_t kWorkers = 3;
  const std::unique_ptr<Executor> executor = make_executor({kWorkers, 1});
  const auto meet = [&] {
    std::latch all_inside(kWorkers);
    EXPECT_TRUE(executor
                    ->parallel_for(kFirst, {0, kWorkers},
                                   [&](std::size_t) { all_inside.arrive_and_wait(); })
                    .ok());
  };
  for (const IdlePolicy policy :
       {IdlePolicy::kPark, IdlePolicy::kSpin, IdlePolicy::kSpinThenPark}) {
    executor->set_idle_policy(policy);
    for (int i = 0; i < 20; ++i) {
      meet();
      run_and_wait(*executor, kFirst, meet);
    }
  }
}

TEST(ParallelFor, TasksWaitUntilTheLoopHasEnded) {
  const std::unique_ptr<Executor> executor = make_executor({2});
  // Both workers have been at the queue under this policy, and so still are when the loop begins.
  executor->set_idle_policy(IdlePolicy::kSpin);
  std::latch both_inside(3);
  for (int worker = 0; worker < 2; ++worker) {
    ASSERT_TRUE(executor->submit(kFirst, [&] { both_inside.arrive_and_wait(); }).ok());
  }
  both_inside.arrive_and_wait();
  // Nor does one look at the queue still: both are in the loop before there are tasks.
  std::latch both_in_loop(2);
  std::atomic<int> tasks_ran = 0;
  EXPECT_TRUE(executor
                  ->parallel_for({0, 1000},
                                 [&](std::size_t) {
                                   thread_local bool has_met = false;
                                   if (!std::exchange(has_met, true)) {
                                     both_in_loop.arrive_and_wait();
                                   }
                                   EXPECT_TRUE(executor->submit(kFirst, [&] { ++tasks_ran; }).ok());
                                   EXPECT_EQ(tasks_ran, 0);
                                 })
                  .ok());
  EXPECT_GE(executor->events().yield_count, 1u);
  while (tasks_ran < 1000) {
    std::this_thread::yield();
  }
}

TEST(ParallelFor, RunsBesideATaskThatStays) {
  const std::unique_ptr<Executor> executor = make_executor({2});
  std::latch stays(1);
  std::latch inside(1);
  ASSERT_TRUE(executor
                  ->submit(kFirst,
                           [&] {
                             inside.count_down();
                             stays.wait();
                           })
                  .ok());
  inside.wait();
  Marks marks(1000);
  EXPECT_TRUE(executor->parallel_for({0, 1000}, [&](std::size_t i) { marks.mark(i); }).ok());
  marks.expect_once(0, 1000);
  stays.count_down();
}

TEST(ParallelFor, ManyThreadsLoopAndSubmitAtOnce) {
  const std::unique_ptr<Executor> executor = make_executor({2, 1});
  std::atomic<int> tasks = 0;
  std::atomic<std::size_t> indices = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) {
          EXPECT_TRUE(executor->submit(kFirst, [&tasks] { ++tasks; }).ok());
          EXPECT_TRUE(executor->submit(kSecond, [&tasks] { ++tasks; }).ok());
          EXPECT_TRUE(executor->parallel_for({0, 100}, [&](std::size_t) { ++indices; }).ok());
          EXPECT_TRUE(
              executor->parallel_for(kSecond, {0, 10}, [&](std::size_t) { ++indices; }).ok());
        }
      });
    }
  }
  while (tasks < 4 * 50 * 2) {
    std::this_thread::yield();
  }
  EXPECT_EQ(indices, 4u * 50 * 110);
}

TEST(ParallelFor, EndsWithWhatBodiesThrewAndTheirIndices) {
  for (const std::vector<std::size_t>& shape :
       {std::vector<std::size_t>{2}, std::vector<std::size_t>{1, 1, 1}}) {
    const std::unique_ptr<Executor> executor = make_executor(shape);
    const auto loop = [&] {
      std::atomic<int> ran = 0;
      std::vector<BulkError> errors;
      const Status status =
          executor->parallel_for({0, 10'000},
                                 [&ran](std::size_t i) {
                                   ++ran;
                                   if (i % 100 == 7) {
                                     throw std::runtime_error("bad digit at " + std::to_string(i));
                                   }
                                 },
                                 {.errors = &errors});
      EXPECT_EQ(status.code(), ErrorCode::kUnknown);
      EXPECT_GE(errors.size(), 1u);
      EXPECT_LE(errors.size(), executor->worker_count());
      EXPECT_LT(ran, 10'000);
      for (const BulkError& error : errors) {
        const std::string index = std::to_string(error.at.begin);
        EXPECT_EQ(error.at.begin % 100, 7u);
        EXPECT_EQ(error.at.end, error.at.begin + 1);
        EXPECT_EQ(error.status.to_string(), "UNKNOWN: bad digit at " + index);
        EXPECT_THROW(std::rethrow_exception(error.exception), std::runtime_error);
        EXPECT_THAT(status.message(), HasSubstr(" index " + index + ": bad digit at " + index));
      }
    };
    loop();
    run_and_wait(*executor, kFirst, loop);
    Marks marks(100);  // It goes on working.
    EXPECT_TRUE(executor->parallel_for({0, 100}, [&](std::size_t i) { marks.mark(i); }).ok());
    marks.expect_once(0, 100);
  }
}

// All bodies are inside before the first of them throws.
TEST(ParallelFor, LosesNoExceptionOfBodiesThatThrowAtTheSameTime) {
  constexpr std::size_t kWorkers = 3;
  for (const std::vector<std::size_t>& shape :
       {std::vector<std::size_t>{kWorkers}, std::vector<std::size_t>{1, 1, 1}}) {
    const std::unique_ptr<Executor> executor = make_executor(shape);
    std::latch all_inside(kWorkers);
    std::vector<BulkError> errors;
    const Status status = executor->parallel_for({0, kWorkers},
                                                 [&](std::size_t i) {
                                                   all_inside.arrive_and_wait();
                                                   throw std::runtime_error(std::to_string(i));
                                                 },
                                                 {.errors = &errors});
    EXPECT_THAT(status.message(), StartsWith("3 pieces of the loop failed: index "));
    ASSERT_EQ(errors.size(), kWorkers);
    std::set<std::string> words;
    for (const BulkError& error : errors) {
      words.insert(std::string(error.status.message()));
    }
    EXPECT_EQ(words, (std::set<std::string>{"0", "1", "2"}));
  }
}

TEST(ParallelFor, NamesTheRangeOfABodyThatTakesRanges) {
  const std::unique_ptr<Executor> executor = make_executor({1});
  const Status status = executor->parallel_for({5, 15}, [](IndexRange) { throw 7; }, {.grain = 10});
  EXPECT_EQ(status.to_string(),
            "UNKNOWN: 1 piece of the loop failed: indices 5 up to 15: an exception that is not a "
            "std::exception");
}

TEST(ParallelFor, ClearsTheErrorsOfAnEarlierLoop) {
  const std::unique_ptr<Executor> executor = make_executor({1});
  std::vector<BulkError> errors(3);
  EXPECT_TRUE(executor->parallel_for({0, 10}, [](std::size_t) {}, {.errors = &errors}).ok());
  EXPECT_TRUE(errors.empty());
}

TEST(ParallelFor, TellsABodyOfTheErrorsOfItsInnerLoop) {
  const std::unique_ptr<Executor> executor = make_executor({2});
  const Status status = executor->parallel_for({0, 10}, [&](std::size_t) {
    const Status inner =
        executor->parallel_for({0, 10}, [](std::size_t) { throw std::logic_error("inner words"); });
    if (!inner.ok()) {
      throw std::runtime_error(inner.to_string());
    }
  });
  EXPECT_EQ(status.code(), ErrorCode::kUnknown);
  EXPECT_THAT(status.message(), HasSubstr("inner words"));
}

TEST(ParallelFor, StopsEarlyWhenItIsCancelled) {
  for (const std::vector<std::size_t>& shape :
       {std::vector<std::size_t>{2}, std::vector<std::size_t>{1, 1}}) {
    const std::unique_ptr<Executor> executor = make_executor(shape);
    const CancelSource source;
    Marks marks(1'000'000);
    const Status status = executor->parallel_for({0, 1'000'000},
                                                 [&](std::size_t i) {
                                                   marks.mark(i);
                                                   source.cancel();
                                                 },
                                                 {.cancel = source.token()});
    EXPECT_EQ(status.to_string(),
              "CANCELLED: the loop was cancelled; some of its indices may not have run");
    EXPECT_GE(marks.total(), 1u);
    EXPECT_LE(marks.total(), 3u);  // One a worker, and no more than one that had just looked.
  }
}

TEST(ParallelFor, RunsNothingWhenItIsCancelledBefore) {
  const std::unique_ptr<Executor> executor = make_executor({1});
  const CancelSource source;
  source.cancel();
  EXPECT_EQ(
      executor
          ->parallel_for({0, 10}, [](std::size_t) { ADD_FAILURE(); }, {.cancel = source.token()})
          .code(),
      ErrorCode::kCancelled);
}

TEST(ParallelFor, RefusesWhatItCannotDo) {
  const std::unique_ptr<Executor> executor = make_executor({1, 1});
  const auto body = [](std::size_t) { ADD_FAILURE(); };
  EXPECT_EQ(executor->parallel_for({3, 2}, body).to_string(),
            "INVALID_ARGUMENT: a loop over 3 up to 2 with grain 1; it must not end before it "
            "begins, and the grain is at least 1");
  EXPECT_EQ(executor->parallel_for({0, 2}, body, {.grain = 0}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(executor->parallel_for(Place{.index = 9}, {0, 2}, body).code(),
            ErrorCode::kInvalidArgument);
  run_and_wait(*executor, kFirst, [&] {
    const Status status = executor->parallel_for(kSecond, {0, 2}, body);
    EXPECT_EQ(status.to_string(),
              "FAILED_PRECONDITION: a worker of numa 0 of host 0 asks for a loop at numa 1 of host "
              "0 and would only wait; loop at its own place or at all of them");
  });
}

TEST(ParallelForDeathTest, DiesWhenABodyBlocksOnACompletion) {
  EXPECT_DEATH(
      {
        const std::unique_ptr<Executor> executor = make_executor({2});
        const CompletionSource source;
        const Completion completion = source.completion();
        static_cast<void>(executor->parallel_for({0, 2}, [&](std::size_t) { completion.wait(); }));
      },
      "inside_task");
}

}  // namespace
}  // namespace pinion
