// The queue of a place: what may be submitted, what a full queue does, when workers come and go.

#include <pinion/core/executor.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <latch>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

constexpr Place kFirst{.index = 0};
constexpr Place kSecond{.index = 1};

// One worker at each of the places 0, 1, ...
std::unique_ptr<Executor> make_executor(std::size_t place_count, std::size_t queue_capacity,
                                        IdlePolicy policy = IdlePolicy::kSpinThenPark) {
  ExecutorOptions options{.queue_capacity = queue_capacity, .idle_policy = policy};
  for (std::size_t i = 0; i < place_count; ++i) {
    options.groups.push_back({.place = {.index = static_cast<std::uint16_t>(i)}});
  }
  return Executor::create(options).value();
}

// Keeps the worker of a place busy until it is opened.
class Blocker {
 public:
  Blocker(Executor& executor, Place place) {
    EXPECT_TRUE(executor
                    .submit(place,
                            [this] {
                              inside_.count_down();
                              opened_.wait();
                              ended_.count_down();
                            })
                    .ok());
    inside_.wait();
  }
  void open() { opened_.count_down(); }
  ~Blocker() { ended_.wait(); }
  Blocker(const Blocker&) = delete;
  Blocker& operator=(const Blocker&) = delete;

 private:
  std::latch inside_{1};
  std::latch opened_{1};
  std::latch ended_{1};
};

// Its destructor counts, so that a lost or doubled callable shows.
template <std::size_t kPadding>
class Counted {
 public:
  explicit Counted(std::atomic<int>& alive) : alive_(&alive) { ++alive; }
  Counted(Counted&& other) noexcept : alive_(other.alive_), padding_(other.padding_) { ++*alive_; }
  Counted(const Counted&) = delete;
  Counted& operator=(Counted&&) = delete;
  ~Counted() { --*alive_; }
  void fill(std::byte value) { padding_.fill(value); }
  [[nodiscard]] bool is_filled(std::byte value) const {
    for (const std::byte byte : padding_) {
      if (byte != value) {
        return false;
      }
    }
    return true;
  }

 private:
  std::atomic<int>* alive_;
  std::array<std::byte, kPadding> padding_{};
};

template <std::size_t kPadding>
void expect_runs_a_callable_of() {
  std::atomic<int> alive = 0;
  std::atomic<int> right = 0;
  {
    const std::unique_ptr<Executor> executor = make_executor(1, 16);
    for (int i = 0; i < 200; ++i) {
      Counted<kPadding> counted(alive);
      counted.fill(std::byte(i));
      auto callable = [value = std::byte(i), held = std::move(counted), &right] {
        right += held.is_filled(value) ? 1 : 0;
      };
      ASSERT_TRUE(executor->submit(kFirst, std::move(callable)).ok());
    }
  }
  EXPECT_EQ(right, 200);
  EXPECT_EQ(alive, 0);
}

TEST(ExecutorQueue, RunsAndDestroysCallablesOfAllSizes) {
  static_assert(detail::Task::kFitsInline<Counted<40>>);
  static_assert(!detail::Task::kFitsInline<Counted<41>>);
  expect_runs_a_callable_of<1>();
  expect_runs_a_callable_of<24>();
  expect_runs_a_callable_of<25>();
  expect_runs_a_callable_of<1000>();
}

TEST(ExecutorQueue, TakesCallablesThatOnlyMoveOrAreAlignedOrThrowOnMove) {
  struct alignas(64) Aligned {
    std::atomic<int>* ran;
    void operator()() const { *ran += reinterpret_cast<std::uintptr_t>(this) % 64 == 0 ? 1 : 100; }
  };
  struct ThrowsOnMove {
    explicit ThrowsOnMove(std::atomic<int>& count) : ran(&count) {}
    ThrowsOnMove(ThrowsOnMove&& other) noexcept(false) : ran(other.ran) {}
    std::atomic<int>* ran;
    void operator()() const { ++*ran; }
  };
  static_assert(!detail::Task::kFitsInline<Aligned> && !detail::Task::kFitsInline<ThrowsOnMove>);
  std::atomic<int> ran = 0;
  {
    const std::unique_ptr<Executor> executor = make_executor(1, 16);
    ASSERT_TRUE(executor->submit(kFirst, [&ran, p = std::make_unique<int>(1)] { ran += *p; }).ok());
    ASSERT_TRUE(executor->submit(kFirst, Aligned{&ran}).ok());
    ASSERT_TRUE(executor->submit(kFirst, ThrowsOnMove(ran)).ok());
  }
  EXPECT_EQ(ran, 3);
}

TEST(ExecutorQueue, RunsTheTasksOfOneWorkerInOrder) {
  std::vector<int> order;
  {
    const std::unique_ptr<Executor> executor = make_executor(1, 8);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(executor->submit(kFirst, [&order, i] { order.push_back(i); }).ok());
    }
  }
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(order[static_cast<std::size_t>(i)], i);
  }
}

TEST(ExecutorQueue, TryToSubmitAnswersAtOnceWhenItIsFull) {
  std::atomic<int> ran = 0;
  const std::unique_ptr<Executor> executor = make_executor(1, 3);  // Rounded up to 4.
  {
    Blocker blocker(*executor, kFirst);
    for (int i = 0; i < 4; ++i) {
      ASSERT_TRUE(executor->try_submit(kFirst, [&ran] { ++ran; }).ok());
    }
    const Status status = executor->try_submit(kFirst, [&ran] { ++ran; });
    EXPECT_EQ(status.to_string(),
              "RESOURCE_EXHAUSTED: the queue of numa 0 of host 0 is full; let some of its tasks "
              "finish");
    EXPECT_EQ(executor->events().full_count, 1u);
    blocker.open();
  }
  while (ran < 4) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(executor->try_submit(kFirst, [] {}).ok());
}

TEST(ExecutorQueue, ACallableThatIsRefusedIsGone) {
  const auto owned = std::make_shared<int>(0);
  auto small = [held = owned] {};
  auto large = [held = owned, padding = std::array<char, 100>()] { static_cast<void>(padding); };
  const std::unique_ptr<Executor> executor = make_executor(1, 2);
  EXPECT_EQ(executor->submit(kSecond, std::move(small)).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(owned.use_count(), 2);

  Blocker blocker(*executor, kFirst);
  ASSERT_TRUE(executor->submit(kFirst, [] {}).ok());
  ASSERT_TRUE(executor->submit(kFirst, [] {}).ok());
  EXPECT_EQ(executor->try_submit(kFirst, std::move(large)).code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(owned.use_count(), 1);
  blocker.open();
}

std::atomic<bool> function_ran = false;
void set_function_ran() {
  function_ran = true;
}

TEST(ExecutorQueue, TakesFunctionsAndCallablesThatStayWithTheCaller) {
  std::atomic<int> ran = 0;
  const auto step = [&ran] { ++ran; };
  {
    const std::unique_ptr<Executor> executor = make_executor(1, 4);
    ASSERT_TRUE(executor->submit(kFirst, set_function_ran).ok());
    ASSERT_TRUE(executor->submit(kFirst, step).ok());
    ASSERT_TRUE(executor->try_submit(kFirst, step).ok());
  }
  EXPECT_TRUE(function_ran);
  EXPECT_EQ(ran, 2);
}

TEST(ExecutorQueue, SubmitFromOutsideBlocksUntilThereIsRoom) {
  std::atomic<int> ran = 0;
  const std::unique_ptr<Executor> executor = make_executor(1, 2);
  std::atomic<bool> accepted = false;
  std::thread producer;
  {
    Blocker blocker(*executor, kFirst);
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(executor->submit(kFirst, [&ran] { ++ran; }).ok());
    }
    producer = std::thread([&] {
      EXPECT_TRUE(executor->submit(kFirst, [&ran] { ++ran; }).ok());
      accepted = true;
    });
    while (executor->events().full_count == 0) {
      std::this_thread::yield();
    }
    EXPECT_FALSE(accepted);
    blocker.open();
  }
  producer.join();
  while (ran < 3) {
    std::this_thread::yield();
  }
}

TEST(ExecutorQueue, AWorkerThatFindsItFullRunsOtherTasksMeanwhile) {
  std::atomic<int> ran = 0;
  std::atomic<int> ran_before_return = -1;
  {
    const std::unique_ptr<Executor> executor = make_executor(1, 2);
    ASSERT_TRUE(executor
                    ->submit(kFirst,
                             [&ran, &ran_before_return, target = executor.get()] {
                               for (int i = 0; i < 3; ++i) {
                                 EXPECT_TRUE(target->submit(kFirst, [&ran] { ++ran; }).ok());
                               }
                               ran_before_return = ran.load();
                             })
                    .ok());
  }
  EXPECT_EQ(ran_before_return, 1);  // Two fitted; one had to make room for the third.
  EXPECT_EQ(ran, 3);
}

// Each fills the queue of the other; neither may wait for ever.
TEST(ExecutorQueue, WorkersOfTwoPlacesThatFillEachOthersQueuesEnd) {
  constexpr int kTaskCount = 5000;
  std::atomic<int> ran = 0;
  {
    const std::unique_ptr<Executor> executor = make_executor(2, 2);
    Executor* const target = executor.get();
    for (const auto& [from, to] : {std::pair(kFirst, kSecond), std::pair(kSecond, kFirst)}) {
      ASSERT_TRUE(executor
                      ->submit(from,
                               [&ran, target, to = to] {
                                 for (int i = 0; i < kTaskCount; ++i) {
                                   EXPECT_TRUE(target->submit(to, [&ran] { ++ran; }).ok());
                                 }
                               })
                      .ok());
    }
  }
  EXPECT_EQ(ran, 2 * kTaskCount);
}

// Every task submits two more into a queue of two: without a bound this would end the stack.
struct Tree {
  void grow() {
    ++ran;
    for (int i = 0; i < 2 && ran < 100'000; ++i) {
      const Status status = executor->submit(kFirst, [this] { grow(); });
      refused += status.code() == ErrorCode::kResourceExhausted ? 1 : 0;
    }
  }

  Executor* executor = nullptr;
  std::atomic<int> ran = 0;
  std::atomic<int> refused = 0;
};

TEST(ExecutorQueue, RefusesAWorkerThatIsTooDeepInOtherTasks) {
  Tree tree;
  {
    const std::unique_ptr<Executor> executor = make_executor(1, 2);
    tree.executor = executor.get();
    ASSERT_TRUE(executor->submit(kFirst, [&tree] { tree.grow(); }).ok());
  }
  EXPECT_GT(tree.refused, 0);
  EXPECT_GT(tree.ran, 64);
}

TEST(ExecutorQueue, EveryPolicyRunsTasksAndLetsTheExecutorEnd) {
  for (const IdlePolicy policy :
       {IdlePolicy::kSpin, IdlePolicy::kSpinThenPark, IdlePolicy::kPark}) {
    const std::unique_ptr<Executor> executor = make_executor(2, 64, policy);
    for (int i = 0; i < 50; ++i) {
      std::latch done(2);
      ASSERT_TRUE(executor->submit(kFirst, [&done] { done.count_down(); }).ok());
      ASSERT_TRUE(executor->submit(kSecond, [&done] { done.count_down(); }).ok());
      done.wait();
    }
  }
}

void wait_for_leaves(const Executor& executor, std::uint64_t count) {
  while (executor.events().leave_count < count) {
    std::this_thread::yield();
  }
}

TEST(ExecutorQueue, WorkersParkAndAreCalledAgainAsThePolicySays) {
  const std::unique_ptr<Executor> executor = make_executor(1, 64, IdlePolicy::kPark);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    ASSERT_TRUE(executor->submit(kFirst, [] {}).ok());
    wait_for_leaves(*executor, i);
    EXPECT_EQ(executor->events().call_count, i);
  }

  // From here on the worker stays, so nobody has to call it.
  executor->set_idle_policy(IdlePolicy::kSpin);
  EXPECT_EQ(executor->events().call_count, 21u);
  for (int i = 0; i < 20; ++i) {
    std::latch done(1);
    ASSERT_TRUE(executor->submit(kFirst, [&done] { done.count_down(); }).ok());
    done.wait();
  }
  EXPECT_EQ(executor->events().call_count, 21u);
  EXPECT_EQ(executor->events().leave_count, 20u);

  executor->set_idle_policy(IdlePolicy::kSpinThenPark);
  wait_for_leaves(*executor, 21);
}

Status error_of(const ExecutorOptions& options) {
  const Result<std::unique_ptr<Executor>> executor = Executor::create(options);
  return executor ? Status() : executor.error();
}

TEST(ExecutorQueue, RefusesOptionsOutsideTheirRange) {
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{1}, std::size_t{1} << 21}) {
    const Status status = error_of({.groups = {{}}, .queue_capacity = capacity});
    EXPECT_EQ(status.to_string(), "INVALID_ARGUMENT: queue_capacity is " +
                                      std::to_string(capacity) + "; it must be from 2 to 1048576");
  }
  EXPECT_EQ(error_of({.groups = {{}}, .spin_window = Duration(-1)}).code(),
            ErrorCode::kInvalidArgument);
}

TEST(ExecutorQueueDeathTest, DiesWhenATaskThrows) {
  EXPECT_DEATH(
      {
        const std::unique_ptr<Executor> executor = make_executor(1, 2);
        static_cast<void>(executor->submit(kFirst, [] { throw 1; }));
        std::latch(1).wait();
      },
      "");
}

}  // namespace
}  // namespace pinion
