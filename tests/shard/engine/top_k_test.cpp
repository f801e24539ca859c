#include <pinion/shard/top_k.hpp>

#include <algorithm>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/map_reduce.hpp>

#include "shard/engine/aggregation.hpp"
#include "shard/engine/fake_job.hpp"

namespace pinion {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

// Compared by score alone, so that many are equal; `serial` tells them apart.
struct Score {
  std::uint32_t score = 0;
  std::uint8_t padded = 0;
  std::uint64_t serial = 0;
  friend bool operator==(const Score&, const Score&) = default;
};
struct HigherScore {
  bool operator()(const Score& left, const Score& right) const { return left.score > right.score; }
};
static_assert(Aggregation<TopK<Score, HigherScore>> && Aggregation<TopK<double, std::greater<>>>);

constexpr std::uint64_t kShardCount = 30;
constexpr std::uint64_t kPerShard = 40;

Score score_of(std::uint64_t serial, std::uint64_t distinct) {
  const std::uint64_t random = serial * 0x9E3779B97F4A7C15u >> 33;
  return {.score = static_cast<std::uint32_t>(random % distinct), .serial = serial};
}

std::vector<Score> oracle(std::size_t k, std::uint64_t distinct) {
  std::vector<Score> all;
  for (std::uint64_t serial = 0; serial < kShardCount * kPerShard; ++serial) {
    all.push_back(score_of(serial, distinct));
  }
  std::ranges::stable_sort(all, HigherScore());
  all.resize(std::min(k, all.size()));
  return all;
}

TEST(TopK, KeepsTheBestAndAmongEqualOnesTheFirst) {
  test::Aggregation aggregation;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    for (const std::size_t k : {0u, 1u, 10u, 5000u}) {
      const std::uint64_t distinct = seed % 4 == 0 ? 1 : 1 + seed * seed;
      const auto result = aggregation.answer(
          top_k<Score>(k, HigherScore()), kShardCount, seed, [&](const Shard& shard, auto& emit) {
            for (std::uint64_t i = 0; i < kPerShard; ++i) {
              emit(score_of(shard.id() * kPerShard + i, distinct));
            }
          });
      ASSERT_THAT(result.records(), ElementsAreArray(oracle(k, distinct)));
    }
  }
}

// Without padding, whose bytes are nobody's: the score above, the serial number below.
struct HigherScoreOfWord {
  bool operator()(std::uint64_t left, std::uint64_t right) const {
    return left >> 32 > right >> 32;
  }
};

TEST(TopK, SealsTheSameBytesWhoeverRanTheShards) {
  test::Aggregation aggregation;
  const auto prototype = top_k<std::uint64_t>(20, HigherScoreOfWord());
  const auto merged = [&](std::uint64_t seed) {
    const auto partials =
        aggregation.partials(prototype, kShardCount, seed, 1, [](const Shard& shard, auto& emit) {
          for (std::uint64_t i = 0; i < kPerShard; ++i) {
            const Score score = score_of(shard.id() * kPerShard + i, 9);
            emit(std::uint64_t{score.score} << 32 | score.serial);
          }
        });
    return aggregation.merge(prototype, partials, 1);
  };
  const std::vector<Blob> first = merged(0);
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    ASSERT_TRUE(test::equal_bytes(first, merged(seed)));
  }
}

TEST(TopK, TakesTheGreatestUnlessTold) {
  test::Aggregation aggregation;
  const auto body = [](const Shard& shard, auto& emit) { emit(static_cast<double>(shard.id())); };
  EXPECT_THAT(aggregation.answer(top_k<double>(3), 9, 1, body).records(), ElementsAre(8, 7, 6));
  EXPECT_THAT(aggregation.answer(top_k<double>(3, std::less<>()), 9, 1, body).records(),
              ElementsAre(0, 1, 2));
}

TEST(TopK, RefusesBytesThatAreNotRows) {
  test::Aggregation aggregation;
  const auto prototype = top_k<double>(3);
  const auto body = [](const Shard& shard, auto& emit) { emit(static_cast<double>(shard.id())); };
  const std::vector<Blob> partials = aggregation.partials(prototype, 40, 1, 1, body);
  const auto piece = partition_of(partials.front().bytes(), 0).value();
  for (std::size_t length = 1; length < piece.size(); ++length) {
    const std::span<const std::byte> cut = piece.first(length);
    EXPECT_EQ(prototype.fresh()->merge({&cut, 1}).ok(), length % sizeof(TopRow<double>) == 0);
  }
  // More rows than are asked for cannot come from the same step.
  EXPECT_EQ(top_k<double>(2).fresh()->merge({&piece, 1}).code(), ErrorCode::kDataLoss);
  EXPECT_EQ(TopResult<double>::create({}).error().code(), ErrorCode::kDataLoss);
  EXPECT_EQ(TopResult<double>::create({Blob()}).error().code(), ErrorCode::kDataLoss);
}

TEST(TopK, AnswersAJob) {
  for (const std::uint32_t rank_count : {1u, 3u}) {
    test::FakeJob job({.rank_count = rank_count, .worker_count = 2, .batch_shard_count = 2});
    job.run([](test::FakeRank& rank) {
      const auto best = map_reduce(
          rank, indices(kShardCount * kPerShard), by_index_range(kPerShard),
          [](const Shard& shard, auto& emit) {
            for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
              emit(score_of(i, 50));
            }
          },
          top_k<Score>(25, HigherScore()));
      ASSERT_TRUE(best) << best.error().to_string();
      EXPECT_THAT(best->records(), ElementsAreArray(oracle(25, 50)));
    });
  }
}

}  // namespace
}  // namespace pinion
