#include <pinion/shard/collect.hpp>

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/map_reduce.hpp>

#include "shard/engine/aggregation.hpp"
#include "shard/engine/fake_job.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::ElementsAre;

struct Point {
  std::int32_t x = 0;
  double y = 0;
  friend bool operator==(const Point&, const Point&) = default;
};
static_assert(Aggregation<Collect<Point>> && Aggregation<Collect<std::string_view>>);

// Shard i emits i % 4 records.
constexpr auto kEmitNumbers = [](const Shard& shard, auto& emit) {
  for (std::uint64_t i = 0; i < shard.id() % 4; ++i) {
    emit(shard.id() * 10 + i);
  }
};
constexpr auto kEmitTexts = [](const Shard& shard, auto& emit) {
  for (std::uint64_t i = 0; i < shard.id() % 4; ++i) {
    emit(std::string(i * 7, 'x') + std::to_string(shard.id()));
  }
};

template <class T>
std::vector<T> content_of(const auto& result) {
  std::vector<T> content;
  for (const auto& record : result) {
    content.emplace_back(record);
  }
  return content;
}

TEST(Collect, GivesRecordsInTheOrderOfShardsWhoeverRanThem) {
  test::Aggregation aggregation;
  std::vector<std::uint64_t> numbers;
  std::vector<std::string> texts;
  for (std::uint64_t id = 0; id < 60; ++id) {
    for (std::uint64_t i = 0; i < id % 4; ++i) {
      numbers.push_back(id * 10 + i);
      texts.push_back(std::string(i * 7, 'x') + std::to_string(id));
    }
  }
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto result = aggregation.answer(collect<std::uint64_t>(), 60, seed, kEmitNumbers);
    ASSERT_EQ(content_of<std::uint64_t>(result), numbers);
    ASSERT_EQ(result.size(), numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      ASSERT_EQ(result[i], numbers[i]);
    }
    const auto words = aggregation.answer(collect<std::string_view>(), 60, seed, kEmitTexts);
    ASSERT_EQ(content_of<std::string>(words), texts);
    ASSERT_EQ(words[17], texts[17]);
  }
}

TEST(Collect, SealsTheSameBytesWhoeverRanTheShards) {
  test::Aggregation aggregation;
  const auto merged = [&](std::uint64_t seed) {
    const auto prototype = collect<std::string_view>();
    return aggregation.merge(prototype, aggregation.partials(prototype, 40, seed, 4, kEmitTexts),
                             4);
  };
  const std::vector<Blob> first = merged(0);
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    ASSERT_TRUE(test::equal_bytes(first, merged(seed)));
  }
}

TEST(Collect, TakesNothingAndRecordsOfNothing) {
  test::Aggregation aggregation;
  const auto nothing = aggregation.answer(collect<Point>(), 3, 1, [](const Shard&, auto&) {});
  EXPECT_TRUE(nothing.empty());
  EXPECT_TRUE(nothing.begin() == nothing.end());
  const auto empty = aggregation.answer(collect<std::string_view>(), 2, 1,
                                        [](const Shard&, auto& emit) { emit(std::string_view()); });
  EXPECT_THAT(content_of<std::string>(empty), ElementsAre("", ""));
}

TEST(Collect, CountsTheMemoryThatItHolds) {
  Collect<std::uint64_t> state;
  Collect<std::uint64_t>::Emitter emit(state, Shard({.id = 3}));
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    emit(i);
  }
  EXPECT_GE(state.memory_bytes(), 80'000u);
  const std::uint64_t before = state.memory_bytes();
  Collect<std::uint64_t>::Emitter next(state, Shard({.id = 4}));
  EXPECT_GE(state.memory_bytes(), before);
}

TEST(Collect, RefusesAShardThatIsThereTwice) {
  test::Aggregation aggregation;
  const auto prototype = collect<std::uint64_t>();
  const std::vector<Blob> partials = aggregation.partials(prototype, 8, 1, 1, kEmitNumbers);
  const auto state = prototype.fresh();
  std::vector<std::span<const std::byte>> pieces;
  for (int i = 0; i < 2; ++i) {
    for (const Blob& partial : partials) {
      pieces.push_back(partition_of(partial.bytes(), 0).value());
    }
  }
  ASSERT_TRUE(state->merge(pieces).ok());
  EXPECT_EQ(state->seal(aggregation.store(), Place{}, 1).error().code(), ErrorCode::kDataLoss);
}

TEST(Collect, NeverLeadsOutsideWhateverABitOfItBecomes) {
  test::Aggregation aggregation;
  const auto check = [&](const auto& prototype, RecordWidth width, auto body) {
    const std::vector<Blob> partials = aggregation.partials(prototype, 9, 3, 1, body);
    const auto intact = partition_of(partials.front().bytes(), 0).value();
    std::size_t refused = 0;
    test::for_each_damage(intact, [&](std::span<const std::byte> damaged, std::size_t) {
      const auto runs = open_shard_runs(damaged, width);
      if (!runs) {
        EXPECT_EQ(runs.error().code(), ErrorCode::kDataLoss);
        ++refused;
        return;
      }
      for (const ShardRun& run : *runs) {
        ASSERT_TRUE(run.bytes.empty() ||
                    (run.bytes.data() >= damaged.data() &&
                     run.bytes.data() + run.bytes.size() <= damaged.data() + damaged.size()));
        ASSERT_TRUE(run.ends.empty() || run.ends.back() <= run.bytes.size());
      }
    });
    EXPECT_GT(refused, 100u);
    for (std::size_t length = 0; length < intact.size(); ++length) {
      ASSERT_FALSE(open_shard_runs(intact.first(length), width)) << length;
    }
  };
  check(collect<std::uint64_t>(), 8, kEmitNumbers);
  check(collect<std::string_view>(), 0, kEmitTexts);
}

TEST(Collect, RefusesRecordsOfAnotherWidth) {
  test::Aggregation aggregation;
  const std::vector<Blob> partials =
      aggregation.partials(collect<std::uint64_t>(), 8, 1, 1, kEmitNumbers);
  const std::span<const std::byte> piece = partition_of(partials.front().bytes(), 0).value();
  EXPECT_EQ(collect<std::uint32_t>().fresh()->merge({&piece, 1}).code(), ErrorCode::kDataLoss);
  EXPECT_EQ(collect<std::string_view>().fresh()->merge({&piece, 1}).code(), ErrorCode::kDataLoss);
  EXPECT_EQ(CollectedResult<Point>::create(partials).error().code(), ErrorCode::kDataLoss);
}

TEST(Collect, AnswersAJobWithEqualRecordsOnEveryRank) {
  for (const std::uint32_t rank_count : {1u, 2u, 3u}) {
    FakeJob job({.rank_count = rank_count, .worker_count = 2, .batch_shard_count = 3});
    job.run([](FakeRank& rank) {
      const auto points = map_reduce(
          rank, indices(1000), by_index_range(7),
          [](const Shard& shard, auto& emit) {
            for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
              emit(Point{static_cast<std::int32_t>(i), static_cast<double>(i) / 2});
            }
          },
          collect<Point>());
      ASSERT_TRUE(points) << points.error().to_string();
      ASSERT_EQ(points->size(), 1000u);
      std::int32_t i = 0;
      for (const Point point : *points) {
        ASSERT_EQ(point, (Point{i, i / 2.0}));
        ++i;
      }
    });
  }
}

}  // namespace
}  // namespace pinion
