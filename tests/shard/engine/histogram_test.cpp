#include <pinion/shard/histogram.hpp>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/map_reduce.hpp>

#include "shard/engine/aggregation.hpp"
#include "shard/engine/fake_job.hpp"

namespace pinion {
namespace {

using testing::Each;
using testing::ElementsAre;

static_assert(Aggregation<Histogram>);

TEST(Histogram, PutsEveryValueBetweenTheBoundsThatHoldIt) {
  std::mt19937_64 random(5);
  const auto real = [&](double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<double> bounds;
    if (round % 3 == 0) {
      const double low = real(-1e6, 1e6);
      test::Aggregation aggregation;
      const auto made = aggregation.answer(histogram(low, low + real(1e-3, 1e6), 1 + random() % 99),
                                           0, 1, [](const Shard&, auto&) {});
      bounds.assign(made.bounds().begin(), made.bounds().end());
    } else {
      bounds = {real(-10, 10)};
      for (std::uint64_t i = 0; i < 1 + random() % 30; ++i) {
        bounds.push_back(bounds.back() + std::exp(real(-5, round % 3 == 1 ? 8 : -4)));
      }
    }
    const Histogram state(bounds);
    const std::size_t bin_count = bounds.size() - 1;
    for (int i = 0; i < 200; ++i) {
      // A bound itself, what stands beside it, and anything.
      double value = i % 3 == 0 ? real(bounds.front() - 1, bounds.back() + 1)
                                : bounds[random() % bounds.size()];
      value = i % 3 == 2 ? std::nextafter(value, random() % 2 == 0 ? -1e300 : 1e300) : value;
      const std::size_t slot = state.slot_of(value);
      if (value < bounds.front()) {
        ASSERT_EQ(slot, bin_count);
      } else if (value > bounds.back()) {
        ASSERT_EQ(slot, bin_count + 1);
      } else {
        ASSERT_LT(slot, bin_count);
        ASSERT_LE(bounds[slot], value);
        ASSERT_TRUE(value < bounds[slot + 1] || value == bounds.back());
      }
    }
  }
}

TEST(Histogram, CountsWhatLiesOutsideAndWhatIsNoNumber) {
  test::Aggregation aggregation;
  const auto result =
      aggregation.answer(histogram({0, 1, 10, 100}), 1, 1, [](const Shard&, auto& emit) {
        emit(-0.5);
        emit(-std::numeric_limits<double>::infinity());
        emit(0);
        emit(1, 5);
        emit(99.5);
        emit(100);
        emit(100.5);
        emit(std::nan(""), 2);
      });
  EXPECT_THAT(result.bounds(), ElementsAre(0, 1, 10, 100));
  EXPECT_THAT(result.counts(), ElementsAre(1, 5, 2));
  EXPECT_EQ(result.below(), 2u);
  EXPECT_EQ(result.above(), 1u);
  EXPECT_EQ(result.not_numbers(), 2u);
}

TEST(Histogram, SealsTheSameBytesWhoeverRanTheShards) {
  test::Aggregation aggregation;
  const Histogram prototype = histogram(0, 50, 10);
  const auto merged = [&](std::uint64_t seed) {
    const auto partials = aggregation.partials(
        prototype, 60, seed, 3,
        [](const Shard& shard, auto& emit) { emit(static_cast<double>(shard.id())); });
    return aggregation.merge(prototype, partials, 1);
  };
  const std::vector<Blob> first = merged(0);
  EXPECT_THAT(HistogramResult::create(first)->counts(), ElementsAre(5, 5, 5, 5, 5, 5, 5, 5, 5, 6));
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    ASSERT_TRUE(test::equal_bytes(first, merged(seed)));
  }
}

TEST(Histogram, RefusesDamagedBytesOrOtherBounds) {
  test::Aggregation aggregation;
  const Histogram prototype = histogram({1, 2, 4});
  const std::vector<Blob> partials =
      aggregation.partials(prototype, 4, 1, 1, [](const Shard&, auto& emit) { emit(1.5); });
  const auto intact = partition_of(partials.front().bytes(), 0).value();
  std::size_t refused = 0;
  test::for_each_damage(intact, [&](std::span<const std::byte> damaged, std::size_t at) {
    const Status status = prototype.fresh()->merge({&damaged, 1});
    refused += status.ok() ? 0 : 1;
    // The number of bounds and the bounds themselves come first; a count may be any number.
    EXPECT_EQ(status.ok(), at >= 4 * sizeof(std::uint64_t)) << at;
  });
  EXPECT_GT(refused, 24u);
  for (std::size_t length = 0; length < intact.size(); ++length) {
    const std::span<const std::byte> cut = intact.first(length);
    ASSERT_EQ(prototype.fresh()->merge({&cut, 1}).code(), ErrorCode::kDataLoss);
  }
  const std::span<const std::byte> piece = intact;
  EXPECT_EQ(histogram({1, 2, 5}).fresh()->merge({&piece, 1}).code(), ErrorCode::kDataLoss);
  EXPECT_EQ(HistogramResult::create({}).error().code(), ErrorCode::kDataLoss);
}

TEST(HistogramDeathTest, AsksForBoundsThatAscend) {
  EXPECT_DEATH((void)histogram({1}), "are_bounds");
  EXPECT_DEATH((void)histogram({1, 1}), "are_bounds");
  EXPECT_DEATH((void)histogram({0, std::nan(""), 1}), "are_bounds");
}

TEST(Histogram, AnswersAJob) {
  test::FakeJob job({.rank_count = 2, .worker_count = 2, .batch_shard_count = 2});
  job.run([](test::FakeRank& rank) {
    const auto result = map_reduce(
        rank, indices(1000), by_index_range(30),
        [](const Shard& shard, auto& emit) {
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            emit(static_cast<double>(i));
          }
        },
        histogram(0, 1000, 20));
    ASSERT_TRUE(result) << result.error().to_string();
    EXPECT_THAT(result->counts(), Each(50u));
  });
}

}  // namespace
}  // namespace pinion
