#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/sum_vector.hpp>
#include <pinion/shard/text.hpp>

#include "shard/engine/fake_job.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::AllOf;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;

// Collects what the ranks of a job were told.
class Answers {
 public:
  void add(const Status& status) {
    const std::lock_guard lock(mutex_);
    answers_.push_back(status);
    answered_.notify_all();
  }

  // Blocks until some rank was answered; false when the time is over.
  [[nodiscard]] bool wait_for_one(std::chrono::seconds time) {
    std::unique_lock lock(mutex_);
    return answered_.wait_for(lock, time, [this] { return !answers_.empty(); });
  }

  [[nodiscard]] const std::vector<Status>& all() const { return answers_; }

 private:
  std::mutex mutex_;
  std::condition_variable answered_;
  std::vector<Status> answers_;
};

TEST(StepFailure, SpoilsNoSumWhenABodyThrowsAfterHalfOfItsEmits) {
  FakeJob job({.rank_count = 2, .worker_count = 2, .batch_shard_count = 4});
  std::atomic<int> thrown = 0;
  job.run([&](FakeRank& rank) {
    const auto counts = map_reduce(
        rank, indices(400), by_index_range(10),
        [&](const Shard& shard, auto& emit) {
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            if (i == shard.begin() + 5 && shard.id() % 3 == 0 && shard.attempt() == 1) {
              emit.flush();
              ++thrown;
              throw std::runtime_error("half way");
            }
            emit(i % 20, 1);
          }
        },
        sum_by_key<std::uint64_t, std::uint64_t>());
    ASSERT_TRUE(counts) << counts.error().to_string();
    EXPECT_EQ(counts->size(), 20u);
    for (const auto [key, count] : *counts) {
      EXPECT_EQ(count, 20u) << "of key " << key;
    }
  });
  EXPECT_EQ(thrown, 14);
}

TEST(StepFailure, TellsEveryRankWhereABodyThrewAndWhat) {
  TemporaryFolder folder;
  folder.write("input.txt", std::string(100, 'a') + "\n" + std::string(100, 'b') + "\n");
  FakeJob job({.rank_count = 3, .worker_count = 2});
  Answers answers;
  job.run([&](FakeRank& rank) {
    answers.add(map_reduce(
                    rank, files({folder / "input.txt"}), by_bytes(101, align_to_line),
                    [](const Shard& shard, auto& emit) {
                      if (shard.text().front() == 'b') {
                        throw std::runtime_error("cannot read a b");
                      }
                      emit("fine", 1);
                    },
                    sum_by_key<std::string_view, std::uint64_t>())
                    .error());
  });
  ASSERT_EQ(answers.all().size(), 3u);
  for (const Status& answer : answers.all()) {
    EXPECT_EQ(answer.code(), ErrorCode::kUnknown);
    EXPECT_THAT(answer.to_string(),
                AllOf(HasSubstr("shard 1"), HasSubstr("bytes 101-202"), HasSubstr("input.txt"),
                      HasSubstr("on rank "), HasSubstr("cannot read a b")));
  }
}

TEST(StepFailure, NamesMemoryAndStrangeExceptions) {
  FakeJob job({.rank_count = 1});
  job.run([&](FakeRank& rank) {
    const Status memory = for_each_shard(rank, indices(1), by_index_range(1),
                                         [](const Shard&) { throw std::bad_alloc(); });
    EXPECT_EQ(memory.code(), ErrorCode::kResourceExhausted);
    const Status number =
        for_each_shard(rank, indices(1), by_index_range(1), [](const Shard&) { throw 7; });
    EXPECT_EQ(number.code(), ErrorCode::kUnknown);
    EXPECT_THAT(number.to_string(), HasSubstr("not a std::exception"));
    const auto element = map_reduce(
        rank, indices(1), by_index_range(1), [](const Shard&, auto& emit) { emit(12, 1.0); },
        sum_vector<double>(3));
    EXPECT_THAT(element.error().to_string(), AllOf(HasSubstr("12"), HasSubstr("3 elements")));
  });
}

TEST(StepFailure, NamesBothStepsWhenRanksDiffer) {
  FakeJob job({.rank_count = 2});
  Answers answers;
  job.run([&](FakeRank& rank) {
    const std::uint64_t count = rank.info().rank == 0 ? 17 : 18;
    // The rank that is first would otherwise be through before the other comes.
    const auto until_the_other_was_answered = [&](const Shard&) {
      EXPECT_TRUE(answers.wait_for_one(std::chrono::seconds(20)));
    };
    answers.add(
        for_each_shard(rank, indices(count), by_index_range(1), until_the_other_was_answered));
  });
  ASSERT_EQ(answers.all().size(), 2u);
  for (const Status& answer : answers.all()) {
    EXPECT_EQ(answer.code(), ErrorCode::kFailedPrecondition);
    EXPECT_THAT(answer.to_string(), AllOf(HasSubstr("17"), HasSubstr("18"),
                                          HasSubstr("for_each_shard"), HasSubstr(".cpp:")));
  }
}

TEST(StepFailure, NamesBothStepsToARankThatComesWhenTheOtherIsDone) {
  FakeJob job({.rank_count = 2, .plan_patience = std::chrono::milliseconds(10)});
  Answers answers;
  job.run([&](FakeRank& rank) {
    if (rank.info().rank == 1) {
      ASSERT_TRUE(answers.wait_for_one(std::chrono::seconds(20)));
    }
    const std::uint64_t count = rank.info().rank == 0 ? 17 : 18;
    answers.add(for_each_shard(rank, indices(count), by_index_range(1), [](const Shard&) {}));
  });
  ASSERT_EQ(answers.all().size(), 2u);
  EXPECT_TRUE(answers.all()[0].ok()) << answers.all()[0].to_string();
  EXPECT_EQ(answers.all()[1].code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(answers.all()[1].to_string(), AllOf(HasSubstr("17"), HasSubstr("18"),
                                                  HasSubstr("for_each_shard"), HasSubstr(".cpp:")));
}

TEST(StepFailure, TellsEveryRankThatTheInputIsMissing) {
  TemporaryFolder folder;
  FakeJob job({.rank_count = 2});
  Answers answers;
  job.run([&](FakeRank& rank) {
    answers.add(
        for_each_shard(rank, files({folder / "absent"}), by_bytes(10), [](const Shard&) {}));
  });
  ASSERT_EQ(answers.all().size(), 2u);
  for (const Status& answer : answers.all()) {
    EXPECT_EQ(answer.code(), ErrorCode::kNotFound);
    EXPECT_THAT(answer.to_string(), HasSubstr("absent"));
  }
}

// Cuts one shard, or none, or throws; and may do something to the input meanwhile.
class WilfulPlanner final : public IShardPlanner {
 public:
  explicit WilfulPlanner(std::function<std::vector<ShardRange>(const InputListing&)> cut)
      : cut_(std::move(cut)) {}

  [[nodiscard]] Result<std::vector<ShardRange>> partition(const InputListing& input,
                                                          const PartitionPolicy&) const override {
    return cut_(input);
  }
  [[nodiscard]] std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                                 const PartitionPolicy&) const override {
    return shards;
  }

 private:
  std::function<std::vector<ShardRange>(const InputListing&)> cut_;
};

Partitioning wilful(std::function<std::vector<ShardRange>(const InputListing&)> cut) {
  return {.planner = std::make_shared<WilfulPlanner>(std::move(cut)),
          .policy = {.target_size = 1},
          .description = "wilfully"};
}

TEST(StepFailure, ReportsPlannersThatThrowOrLeaveGaps) {
  FakeJob job({.rank_count = 2});
  Answers threw;
  Answers gap;
  job.run([&](FakeRank& rank) {
    const auto ignore = [](const Shard&) {};
    threw.add(for_each_shard(rank, indices(9), wilful([](const InputListing&) {
                               throw std::runtime_error("no plan today");
                               return std::vector<ShardRange>();
                             }),
                             ignore));
    gap.add(for_each_shard(rank, indices(9), wilful([](const InputListing&) {
                             return std::vector<ShardRange>{{.begin = 0, .end = 5}};
                           }),
                           ignore));
  });
  for (const Status& answer : threw.all()) {
    EXPECT_EQ(answer.code(), ErrorCode::kUnknown);
    EXPECT_THAT(answer.to_string(), HasSubstr("no plan today"));
  }
  for (const Status& answer : gap.all()) {
    EXPECT_EQ(answer.code(), ErrorCode::kFailedPrecondition);
  }
  EXPECT_EQ(threw.all().size() + gap.all().size(), 4u);
}

TEST(StepFailure, ReportsAFileThatShrankAfterPlanning) {
  TemporaryFolder folder;
  const std::string path = folder.write("shrinks", std::string(1000, 's'));
  FakeJob job({.rank_count = 2});
  Answers answers;
  job.run([&](FakeRank& rank) {
    const Partitioning cut = wilful([&](const InputListing& input) {
      std::filesystem::resize_file(path, 10);
      return std::vector<ShardRange>{{.begin = 0, .end = input.size(), .weight = 1}};
    });
    answers.add(for_each_shard(rank, files({path}), cut, [](const Shard&) {}));
  });
  ASSERT_EQ(answers.all().size(), 2u);
  for (const Status& answer : answers.all()) {
    EXPECT_EQ(answer.code(), ErrorCode::kDataLoss);
    EXPECT_THAT(answer.to_string(), AllOf(HasSubstr("shrinks"), HasSubstr("shard 0")));
  }
}

TEST(StepFailure, ReportsAStoreThatIsFull) {
  FakeJob job({.rank_count = 1, .store_bytes = 50'000});
  job.run([&](FakeRank& rank) {
    const auto counts = map_reduce(
        rank, indices(20'000), by_index_range(10'000),
        [](const Shard& shard, auto& emit) {
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            emit(i, 1);
          }
        },
        sum_by_key<std::uint64_t, std::uint64_t>());
    ASSERT_FALSE(counts);
    EXPECT_EQ(counts.error().code(), ErrorCode::kResourceExhausted);
  });
}

TEST(StepFailure, DoesNotKeepTheNextStepFromRunning) {
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    EXPECT_FALSE(for_each_shard(rank, indices(4), by_index_range(1), [](const Shard& shard) {
                   if (shard.id() == 2) {
                     throw std::runtime_error("no");
                   }
                 }).ok());
    const auto sums = map_reduce(
        rank, indices(10), by_index_range(1),
        [](const Shard& shard, auto& emit) { emit(0, shard.begin()); },
        sum_vector<std::uint64_t>(1));
    ASSERT_TRUE(sums) << sums.error().to_string();
    EXPECT_THAT(sums->values(), ElementsAre(45));
  });
}

TEST(StepFailure, EndsTheStepWhenTheCoordinatorIsGone) {
  FakeRank* broken = nullptr;
  FakeJob job({.rank_count = 1, .worker_count = 2});
  job.run([&](FakeRank& rank) {
    broken = &rank;
    const Status status = for_each_shard(rank, indices(4), by_index_range(1), [&](const Shard&) {
      broken->control().break_with(Status(ErrorCode::kUnavailable, "the agent has died"));
    });
    EXPECT_EQ(status.code(), ErrorCode::kUnavailable);
    EXPECT_THAT(status.to_string(), AllOf(HasSubstr("step 1"), HasSubstr("the agent has died")));
  });
}

}  // namespace
}  // namespace pinion
