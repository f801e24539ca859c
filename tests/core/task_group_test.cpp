#include <pinion/core/task_group.hpp>

#include <atomic>
#include <latch>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using testing::HasSubstr;

constexpr Place kHere{};

std::unique_ptr<Executor> make_executor(std::size_t worker_count,
                                        std::size_t queue_capacity = 16384) {
  return Executor::create(
             {.groups = {{.worker_count = worker_count}}, .queue_capacity = queue_capacity})
      .value();
}

TEST(CancelToken, IsNeverCancelledWithoutASource) {
  EXPECT_FALSE(CancelToken().cancelled());
  EXPECT_FALSE(CancelToken().can_be_cancelled());
}

TEST(CancelToken, IsCancelledWithItsSourceAndOutlivesIt) {
  CancelToken token;
  CancelToken dropped;
  {
    const CancelSource source;
    token = source.token();
    EXPECT_TRUE(token.can_be_cancelled());
    EXPECT_FALSE(token.cancelled());
    source.cancel();
    dropped = CancelSource().token();
  }
  EXPECT_TRUE(token.cancelled());
  EXPECT_FALSE(dropped.cancelled());
}

TEST(CancelToken, IsCancelledWithTheParentButNotTheOtherWayRound) {
  const CancelSource parent;
  const CancelSource child(parent.token());
  const CancelSource grandchild(child.token());
  child.cancel();
  EXPECT_FALSE(parent.token().cancelled());
  EXPECT_TRUE(child.token().cancelled());
  EXPECT_TRUE(grandchild.token().cancelled());
  const CancelSource other(parent.token());
  parent.cancel();
  EXPECT_TRUE(other.token().cancelled());
}

TEST(TaskGroup, WaitsForAllTasks) {
  const std::unique_ptr<Executor> executor = make_executor(2);
  TaskGroup tasks(*executor);
  EXPECT_TRUE(tasks.wait().ok());  // Of none.
  for (int round = 0; round < 100; ++round) {
    std::atomic<int> ran = 0;
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(tasks.run(kHere, "count", [&ran] { ++ran; }).ok());
    }
    EXPECT_TRUE(tasks.wait().ok());
    EXPECT_EQ(ran, 20);
  }
}

TEST(TaskGroup, WaitsInItsDestructorAndForTasksThatTasksAdd) {
  const std::unique_ptr<Executor> executor = make_executor(1);
  std::atomic<int> ran = 0;
  {
    TaskGroup tasks(*executor);
    ASSERT_TRUE(tasks
                    .run(kHere, "outer",
                         [&] {
                           ++ran;
                           EXPECT_TRUE(tasks.run(kHere, "inner", [&ran] { ++ran; }).ok());
                         })
                    .ok());
  }
  EXPECT_EQ(ran, 2);
}

TEST(TaskGroup, DestroysWhatTheTasksOwnBeforeItStopsWaiting) {
  const std::unique_ptr<Executor> executor = make_executor(1);
  const auto owned = std::make_shared<int>(0);
  for (int i = 0; i < 1000; ++i) {
    TaskGroup tasks(*executor);
    ASSERT_TRUE(tasks.run(kHere, "hold", [owned] {}).ok());
    EXPECT_TRUE(tasks.wait().ok());
    ASSERT_EQ(owned.use_count(), 1);
  }
}

TEST(TaskGroup, CollectsEveryErrorWithTheNameOfItsTask) {
  const std::unique_ptr<Executor> executor = make_executor(2);
  TaskGroup tasks(*executor);
  std::atomic<int> ran = 0;
  ASSERT_TRUE(tasks.run(kHere, "parse", [] { throw std::runtime_error("bad digit"); }).ok());
  ASSERT_TRUE(tasks.run(kHere, "load", [] { throw 7; }).ok());
  ASSERT_TRUE(
      tasks.run(kHere, "check", [] { return Status(ErrorCode::kDataLoss, "wrong sum"); }).ok());
  ASSERT_TRUE(tasks.run(kHere, "fine", [&ran] { ++ran; }).ok());
  ASSERT_TRUE(tasks
                  .run(kHere, "fine too",
                       [&ran] {
                         ++ran;
                         return Status();
                       })
                  .ok());

  const Status status = tasks.wait();

  EXPECT_EQ(ran, 2);
  EXPECT_EQ(status.code(), tasks.errors().front().status.code());
  EXPECT_THAT(status.message(), HasSubstr("3 tasks failed: '"));
  EXPECT_THAT(status.message(), HasSubstr("'parse': bad digit"));
  EXPECT_THAT(status.message(), HasSubstr("'load': an exception that is not a std::exception"));
  EXPECT_THAT(status.message(), HasSubstr("'check': wrong sum"));

  ASSERT_EQ(tasks.errors().size(), 3u);
  std::set<std::string> names;
  for (const TaskError& error : tasks.errors()) {
    names.insert(error.task);
    EXPECT_EQ(error.exception == nullptr, error.task == "check");
    EXPECT_EQ(error.status.code(),
              error.task == "check" ? ErrorCode::kDataLoss : ErrorCode::kUnknown);
    if (error.task == "load") {
      EXPECT_THROW(std::rethrow_exception(error.exception), int);
    }
  }
  EXPECT_EQ(names, (std::set<std::string>{"check", "load", "parse"}));

  EXPECT_TRUE(tasks.wait().ok());  // The errors were told.
  EXPECT_TRUE(tasks.errors().empty());
}

TEST(TaskGroup, LosesNoErrorOfMany) {
  const std::unique_ptr<Executor> executor = make_executor(2);
  TaskGroup tasks(*executor);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(tasks.run(kHere, "fail", [] { throw std::runtime_error("x"); }).ok());
  }
  EXPECT_THAT(tasks.wait().message(), HasSubstr("1000 tasks failed"));
  EXPECT_EQ(tasks.errors().size(), 1000u);
}

TEST(TaskGroup, DropsTasksThatHaveNotBegunWhenItIsCancelled) {
  const std::unique_ptr<Executor> executor = make_executor(1);
  const CancelSource source;
  TaskGroup tasks(*executor, source.token());
  const auto owned = std::make_shared<int>(0);
  std::latch inside(1);
  std::latch go_on(1);
  ASSERT_TRUE(tasks
                  .run(kHere, "first",
                       [&] {
                         inside.count_down();
                         go_on.wait();
                       })
                  .ok());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(tasks.run(kHere, "later", [owned] { ADD_FAILURE(); }).ok());
  }
  inside.wait();
  source.cancel();
  go_on.count_down();
  EXPECT_EQ(tasks.wait().to_string(),
            "CANCELLED: the group was cancelled; 5 of its tasks did not begin");
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(TaskGroup, DoesNotWaitForATaskThatWasRefused) {
  const std::unique_ptr<Executor> executor = make_executor(1);
  TaskGroup tasks(*executor);
  const auto owned = std::make_shared<int>(0);
  EXPECT_EQ(tasks.run({.index = 9}, "nowhere", [owned] {}).code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(tasks.wait().ok());
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(TaskGroup, GoesThroughAFullQueue) {
  const std::unique_ptr<Executor> executor = make_executor(2, 2);
  TaskGroup tasks(*executor);
  std::atomic<int> ran = 0;
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(tasks.run(kHere, "count", [&ran] { ++ran; }).ok());
  }
  EXPECT_TRUE(tasks.wait().ok());
  EXPECT_EQ(ran, 2000);
}

TEST(TaskGroupDeathTest, DiesWhenATaskWouldWaitForAGroup) {
  EXPECT_DEATH(
      {
        const std::unique_ptr<Executor> executor = make_executor(1);
        TaskGroup tasks(*executor);
        static_cast<void>(executor->submit(kHere, [&tasks] { static_cast<void>(tasks.wait()); }));
        std::latch(1).wait();
      },
      "inside_task");
}

}  // namespace
}  // namespace pinion
