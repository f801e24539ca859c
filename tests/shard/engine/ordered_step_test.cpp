// Ordered steps: sums that would differ from run to run are equal to the last bit.

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/sum_vector.hpp>

#include "engine/plan.hpp"
#include "engine/step_planning.hpp"
#include "shard/engine/fake_job.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeJobOptions;
using test::FakeRank;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint64_t kValueCount = 30'000;

std::uint64_t mix(std::uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
  return bits ^ (bits >> 31);
}

// Magnitudes from 2^-30 to 2^30 and both signs: nearly every order of adding has a sum of its own.
double value_of(std::uint64_t i) {
  const std::uint64_t bits = mix(i + 1);
  const double part = 1 + static_cast<double>(bits >> 12) * 0x1p-52;
  return std::ldexp((bits & 1) != 0 ? part : -part, static_cast<int>((bits >> 1) % 61) - 30);
}

// The bits of every answer, by name.
using Bits = std::map<std::string, std::uint64_t>;

struct Bodies {
  std::function<void(const Shard&)> begins = [](const Shard&) {};
};

// Sums, by dense and by sparse integers, by texts of all lengths, means, and a vector.
Bits answers_of(IJobContext& job, const Partitioning& by, const Bodies& bodies = {}) {
  Bits bits;
  const auto add = [&bits](const std::string& name, double value) {
    bits[name] = std::bit_cast<std::uint64_t>(value);
  };
  const auto run = [&](const char* name, auto aggregator, auto key_of) {
    const auto result = map_reduce(
        job, indices(kValueCount), by,
        [&](const Shard& shard, auto& emit) {
          bodies.begins(shard);
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            emit(key_of(i), value_of(i));
          }
        },
        aggregator);
    ASSERT_TRUE(result) << result.error().to_string();
    for (const auto& [key, value] : *result) {
      std::string key_name;
      if constexpr (std::integral<std::remove_cvref_t<decltype(key)>>) {
        key_name = std::to_string(key);
      } else {
        key_name = key;
      }
      add(name + (" " + key_name), value);
    }
  };
  run("dense", sum_by_key<std::uint32_t, double>(),
      [](std::uint64_t i) { return static_cast<std::uint32_t>(mix(i) % 50); });
  run("sparse", sum_by_key<std::uint64_t, double>(),
      [](std::uint64_t i) { return mix(mix(i) % 3000); });
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 400; ++i) {
    texts.push_back(std::string(i % 40, 'k') + std::to_string(i));
  }
  run("mean", mean_by_key<std::string_view, double>(),
      [&texts](std::uint64_t i) { return std::string_view(texts[mix(i) % texts.size()]); });
  const auto vector = map_reduce(
      job, indices(kValueCount), by,
      [](const Shard& shard, auto& emit) {
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          emit(i % 3, value_of(i));
        }
      },
      sum_vector<double>(3));
  for (std::size_t i = 0; vector && i < 3; ++i) {
    add("vector " + std::to_string(i), vector->values()[i]);
  }
  return bits;
}

// What every rank of such a job answers, which must be the same.
Bits answers_of_job(const FakeJobOptions& options, const Partitioning& by,
                    const Bodies& bodies = {}) {
  std::mutex mutex;
  std::vector<Bits> answers;
  FakeJob job(options);
  job.run([&](FakeRank& rank) {
    Bits bits = answers_of(rank, by, bodies);
    const std::lock_guard lock(mutex);
    answers.push_back(std::move(bits));
  });
  for (const Bits& bits : answers) {
    EXPECT_EQ(bits, answers.front());
  }
  EXPECT_EQ(answers.front().size(), 50 + 3000 + 400 + 3u);
  return answers.front();
}

std::size_t count_differences(const Bits& left, const Bits& right) {
  std::size_t count = 0;
  for (const auto& [name, bits] : left) {
    count += right.at(name) != bits ? 1 : 0;
  }
  return count;
}

// 300 shards in batches of 1, 2 and 7.
class OrderedStep : public testing::TestWithParam<std::uint32_t> {
 protected:
  [[nodiscard]] static Partitioning by() { return by_index_range(100).ordered(GetParam()); }
};

TEST_P(OrderedStep, GivesTheSameBitsOnAnyNumberOfRanksAndWorkers) {
  const Bits alone = answers_of_job({}, by());
  for (const std::uint32_t rank_count : {1u, 2u, 3u}) {
    for (const std::size_t worker_count : {1u, 2u}) {
      for (const std::size_t batch_shard_count : {1u, 64u}) {
        SCOPED_TRACE(std::to_string(rank_count) + " ranks, " + std::to_string(worker_count) +
                     " workers, " + std::to_string(batch_shard_count) + " shards a batch");
        EXPECT_EQ(answers_of_job({.rank_count = rank_count,
                                  .worker_count = worker_count,
                                  .place_count = 1 + rank_count % 2,
                                  .batch_shard_count = batch_shard_count},
                                 by()),
                  alone);
      }
    }
  }
}

TEST_P(OrderedStep, GivesTheSameBitsWhenBodiesFail) {
  const Bits undisturbed = answers_of_job({}, by());
  std::atomic<int> failures = 0;
  const auto fail_sometimes = [&failures](const Shard& shard) {
    if (shard.attempt() < 3 && mix(shard.id() + shard.attempt()) % 20 == 0) {
      ++failures;
      throw std::runtime_error("as the test wants it");
    }
  };
  EXPECT_EQ(answers_of_job({.rank_count = 2, .worker_count = 2}, by(), {.begins = fail_sometimes}),
            undisturbed);
  EXPECT_GT(failures, 10);
}

INSTANTIATE_TEST_SUITE_P(ShardsABatch, OrderedStep, testing::Values(1u, 2u, 7u));

// What the tests above would see if batches were not fixed, or merged in another order.
TEST(OrderedStepData, HasOtherBitsWhenBatchesAreOfOtherSizes) {
  const Bits one = answers_of_job({}, by_index_range(100).ordered(1));
  const Bits two = answers_of_job({}, by_index_range(100).ordered(2));
  EXPECT_GT(count_differences(one, two), 200u);
}

TEST(OrderedStepData, HasOtherBitsInAnUnorderedStepWithOtherBatches) {
  const Bits small = answers_of_job({.batch_shard_count = 1}, by_index_range(100));
  const Bits large = answers_of_job({.batch_shard_count = 64}, by_index_range(100));
  EXPECT_GT(count_differences(small, large), 200u);
}

TEST(OrderedStepFailure, NamesTheShardAndItsBatch) {
  FakeJob job({.rank_count = 2});
  job.run([](FakeRank& rank) {
    const Status status =
        for_each_shard(rank, indices(20), by_index_range(1).ordered(8), [](const Shard& shard) {
          if (shard.id() == 10) {
            throw std::runtime_error("not this one");
          }
        });
    EXPECT_EQ(status.code(), ErrorCode::kUnknown);
    EXPECT_THAT(status.to_string(),
                AllOf(HasSubstr("shards 8 to 15 failed"), HasSubstr("in attempt 4 of 4"),
                      HasSubstr("shard 10 (indices 10-11)"), HasSubstr("not this one")));
  });
}

Result<KeyedResult<std::uint64_t, Sum<double>>> sum_many_keys(IJobContext& job,
                                                              const Partitioning& by) {
  return map_reduce(
      job, indices(40'000), by,
      [](const Shard& shard, auto& emit) {
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          emit(mix(i), 0.5);
        }
      },
      sum_by_key<std::uint64_t, double>());
}

TEST(OrderedStepFailure, RefusesABatchThatIsTooLargeAndSaysWhatToDo) {
  FakeJob job({.rank_count = 1, .batch_bytes = 100'000});
  job.run([](FakeRank& rank) {
    const auto sums = sum_many_keys(rank, by_index_range(10'000).ordered(4));
    ASSERT_FALSE(sums);
    EXPECT_EQ(sums.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_THAT(sums.error().to_string(),
                AllOf(HasSubstr("after shard 0, batch-bytes is 100000"), HasSubstr("ordered(1)")));
    // A batch of one shard has nothing to be sealed early for.
    const auto one_by_one = sum_many_keys(rank, by_index_range(10'000).ordered(1));
    ASSERT_TRUE(one_by_one) << one_by_one.error().to_string();
    EXPECT_EQ(one_by_one->size(), 40'000u);
  });
}

TEST(OrderedStepBatches, RunTheirShardsInOrderAndCountAllOfThem) {
  FakeJob job({.rank_count = 2, .worker_count = 2});
  std::mutex mutex;
  std::map<std::uint64_t, std::vector<std::uint64_t>> batches;
  job.run([&](FakeRank& rank) {
    StepSpec spec =
        detail::make_step("test", indices(22), by_index_range(1).ordered(5), CallSite::current());
    spec.body = [&](const Shard& shard, IAggregator&) {
      const std::lock_guard lock(mutex);
      batches[shard.id() / 5].push_back(shard.id() % 5);
    };
    const Result<StepOutcome> outcome = run_step(rank, spec);
    ASSERT_TRUE(outcome) << outcome.error().to_string();
    EXPECT_EQ(outcome->shard_count, 22u);
  });
  using testing::ElementsAre;
  using testing::Pair;
  EXPECT_THAT(batches,
              ElementsAre(Pair(0, ElementsAre(0, 1, 2, 3, 4)), Pair(1, ElementsAre(0, 1, 2, 3, 4)),
                          Pair(2, ElementsAre(0, 1, 2, 3, 4)), Pair(3, ElementsAre(0, 1, 2, 3, 4)),
                          Pair(4, ElementsAre(0, 1))));
}

// Shards as large as the policy lets them be, and a place and a size that it should not be asked.
class WorkerCountingPlanner final : public IShardPlanner {
 public:
  [[nodiscard]] Result<std::vector<ShardRange>> partition(
      const InputListing& input, const PartitionPolicy& policy) const override {
    std::vector<ShardRange> shards;
    const std::uint64_t size = 1 + policy.worker_count * 3 + policy.places.size();
    for (std::uint64_t begin = 0; begin < input.size(); begin += size) {
      shards.push_back({.begin = begin,
                        .end = std::min(input.size(), begin + size),
                        .weight = 1 + policy.place_worker_counts.size(),
                        .place = policy.places.back()});
    }
    return shards;
  }
  [[nodiscard]] std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                                 const PartitionPolicy&) const override {
    return shards;
  }
};

struct Cut {
  std::string name;
  Partitioning by;
  bool of_files = true;

  friend void PrintTo(const Cut& cut, std::ostream* out) { *out << cut.name; }
};

class OrderedPlan : public testing::TestWithParam<Cut> {
 protected:
  struct Plan {
    std::vector<std::uint64_t> cuts;  // Ends and weights of the shards.
    std::uint32_t batch_shard_count;
    std::set<Place> places;
  };

  OrderedPlan() {
    for (int i = 0; i < 40; ++i) {
      folder_.write("f" + std::to_string(100 + i),
                    std::string(static_cast<std::size_t>(100'000 + i * 977), 'x') + "\n");
    }
  }

  [[nodiscard]] Plan plan_on(const FakeJobOptions& options, const Partitioning& by) {
    const auto store = make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, 1u << 26);
    FakeRank rank(options, 0, *store, [](std::span<const std::byte>) { return Status(); });
    StepSpec spec;
    spec.input = GetParam().of_files ? files({folder_.path()}) : indices(1'000'003);
    spec.partitioning = by;
    spec.partition_count = 1;
    std::vector<protocol::PlaceWorkers> workers = engine::workers_of(rank.executor());
    for (protocol::PlaceWorkers& at : workers) {
      at.worker_count *= options.rank_count;
    }
    const Result<engine::SealedPlan> sealed = engine::make_plan(rank, spec, 1, workers);
    EXPECT_TRUE(sealed) << sealed.error().to_string();
    Plan plan;
    plan.batch_shard_count = sealed->message.ordered_batch_shard_count;
    const Result<StepPlan> decoded = decode(sealed->blob.bytes(), *store);
    for (const ShardRange& shard : decoded->shards) {
      plan.cuts.insert(plan.cuts.end(), {shard.end, shard.weight});
      plan.places.insert(shard.place);
    }
    return plan;
  }

  TemporaryFolder folder_;
};

TEST_P(OrderedPlan, DoesNotDependOnRanksWorkersAndPlaces) {
  const Plan first = plan_on({}, GetParam().by.ordered());
  EXPECT_GE(first.batch_shard_count, 1u);
  for (const FakeJobOptions& options :
       {FakeJobOptions{.rank_count = 7}, FakeJobOptions{.worker_count = 3},
        FakeJobOptions{.rank_count = 2, .worker_count = 2, .place_count = 3}}) {
    const Plan other = plan_on(options, GetParam().by.ordered());
    EXPECT_EQ(other.cuts, first.cuts);
    EXPECT_EQ(other.batch_shard_count, first.batch_shard_count);
    // Each place has its part all the same.
    EXPECT_EQ(other.places.size(), options.place_count);
  }
}

TEST_P(OrderedPlan, IsWhatTheProgramSaysOfBatches) {
  EXPECT_EQ(plan_on({}, GetParam().by.ordered(3)).batch_shard_count, 3u);
  EXPECT_EQ(plan_on({}, GetParam().by).batch_shard_count, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Planners, OrderedPlan,
    testing::Values(
        Cut{"ByBytes", by_bytes()}, Cut{"ByBytesOfASize", by_bytes(70'000, align_to_line)},
        Cut{"ByFile", by_file()}, Cut{"ByPlace", by_place(70'000)},
        Cut{"ByWeight", by_weight([](const InputSource& source) { return source.size_bytes; })},
        Cut{"ByIndexRange", by_index_range(), false},
        Cut{"ByWeightOfAnIndex", by_weight([](std::uint64_t index) { return index % 10; }), false},
        Cut{"OfAProgram",
            {.planner = std::make_shared<WorkerCountingPlanner>(), .description = "by workers"},
            false}),
    [](const testing::TestParamInfo<Cut>& cut) { return cut.param.name; });

TEST(OrderedPartitioning, SaysSoInTheFingerprint) {
  EXPECT_EQ(by_bytes(16, align_to_line).ordered().description,
            by_bytes(16, align_to_line).description + ".ordered()");
  EXPECT_EQ(by_index_range().ordered(4).description, "by_index_range().ordered(4)");
}

TEST(OrderedPartitioning, ChoosesBatchesOfOneToEightShards) {
  EXPECT_EQ(choose_ordered_batch(0), 1u);
  EXPECT_EQ(choose_ordered_batch(255), 1u);
  EXPECT_EQ(choose_ordered_batch(256), 2u);
  EXPECT_EQ(choose_ordered_batch(1024), 8u);
  EXPECT_EQ(choose_ordered_batch(kShardCountMax), 8u);
}

}  // namespace
}  // namespace pinion
