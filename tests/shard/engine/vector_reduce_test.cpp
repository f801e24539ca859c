#include <pinion/shard/vector_reduce.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/sum_vector.hpp>
#include <pinion/shm/local_blob_store.hpp>

#include "shard/engine/aggregation.hpp"

namespace pinion {
namespace {

using testing::ElementsAre;
using Vector = SumVector<std::int64_t>;

class SumVectorTest : public testing::Test {
 protected:
  std::unique_ptr<LocalBlobStore> store_ =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 30);

  VectorResult<std::int64_t> answer(IAggregator& state) {
    return VectorResult<std::int64_t>::create({state.seal(*store_, Place{}, 1).value()}).value();
  }
};

TEST_F(SumVectorTest, AddsElementsAndVectors) {
  Vector state(4);
  Vector::Emitter emit(state, Shard({}));
  emit(1, 10);
  emit(2, 20);
  emit(1, 1);
  emit.add(std::vector<std::int64_t>{100, 100, 100});
  emit(3, -5);
  emit.flush();
  EXPECT_THAT(answer(state).values(), ElementsAre(100, 111, 120, -5));
}

TEST_F(SumVectorTest, AddsMoreThanABlockHolds) {
  Vector state(1000);
  Vector::Emitter emit(state, Shard({}));
  for (std::size_t i = 0; i < 3000; ++i) {
    emit(i % 1000, static_cast<std::int64_t>(i));
    emit(999 - i % 1000, 1);
  }
  emit.flush();
  const VectorResult<std::int64_t> sums = answer(state);
  ASSERT_EQ(sums.values().size(), 1000u);
  for (std::size_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(sums.values()[i], static_cast<std::int64_t>(3 * i + 3000 + 3));
  }
}

TEST_F(SumVectorTest, IsZeroWhereNothingWasAdded) {
  Vector state(3);
  EXPECT_THAT(answer(state).values(), ElementsAre(0, 0, 0));
}

TEST_F(SumVectorTest, MayHaveNoElements) {
  Vector state(0);
  EXPECT_TRUE(answer(state).values().empty());
}

TEST_F(SumVectorTest, MergesToTheSameBytesInAnyOrder) {
  std::vector<Blob> partials;
  for (std::int64_t i = 1; i <= 3; ++i) {
    Vector part(2);
    Vector::Emitter emit(part, Shard({}));
    emit(0, i);
    emit(1, 10 * i);
    emit.flush();
    partials.push_back(part.seal(*store_, Place{}, 1).value());
  }
  std::vector<Blob> answers;
  for (int round = 0; round < 2; ++round) {
    const std::unique_ptr<IAggregator> state = Vector(2).fresh();
    for (const Blob& partial : partials) {
      const std::span<const std::byte> piece = partition_of(partial.bytes(), 0).value();
      ASSERT_TRUE(state->merge({&piece, 1}).ok());
    }
    answers.push_back(state->seal(*store_, Place{}, 1).value());
    std::reverse(partials.begin(), partials.end());
  }
  EXPECT_TRUE(std::ranges::equal(answers[0].bytes(), answers[1].bytes()));
  EXPECT_THAT(VectorResult<std::int64_t>::create({answers[0]})->values(), ElementsAre(6, 60));
}

TEST_F(SumVectorTest, ThrowsForAnElementThatIsNotThere) {
  Vector state(3);
  Vector::Emitter emit(state, Shard({}));
  EXPECT_THROW(emit(3, 1), std::out_of_range);
  EXPECT_THROW(emit(~std::size_t{0}, 1), std::out_of_range);
  EXPECT_THROW(emit.add(std::vector<std::int64_t>(4)), std::out_of_range);
  try {
    emit(17, 1);
  } catch (const std::out_of_range& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("17"), testing::HasSubstr("3")));
  }
}

TEST_F(SumVectorTest, RefusesPartitionsOfAnotherLength) {
  Vector state(3);
  const Blob partial = state.seal(*store_, Place{}, 1).value();
  const std::span<const std::byte> bytes = partition_of(partial.bytes(), 0).value();
  const std::span<const std::byte> cut = bytes.first(23);
  EXPECT_EQ(Vector(4).merge({&bytes, 1}).code(), ErrorCode::kDataLoss);
  EXPECT_EQ(Vector(3).merge({&cut, 1}).code(), ErrorCode::kDataLoss);
  EXPECT_EQ(VectorResult<std::int64_t>::create({}).error().code(), ErrorCode::kDataLoss);
  EXPECT_EQ(VectorResult<std::int64_t>::create({Blob()}).error().code(), ErrorCode::kDataLoss);
}

TEST(VectorReduce, TakesTheLeastAndTheGreatest) {
  test::Aggregation aggregation;
  const auto body = [](const Shard& shard, auto& emit) {
    emit(0, static_cast<int>(shard.id()) - 10);
    emit.add(std::vector<int>{0, static_cast<int>(shard.id() * shard.id())});
  };
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto least = aggregation.answer(vector_reduce<int>(3, VectorMin()), 20, seed, body);
    EXPECT_THAT(least.values(), ElementsAre(-10, 0, std::numeric_limits<int>::max()));
    const auto greatest = aggregation.answer(vector_reduce<int>(3, VectorMax()), 20, seed, body);
    EXPECT_THAT(greatest.values(), ElementsAre(9, 361, std::numeric_limits<int>::lowest()));
  }
}

TEST(VectorReduce, AnswersTheSameBitsWhateverTheOrderOfStrangeNumbers) {
  test::Aggregation aggregation;
  const double strange[] = {0.0, -0.0, std::numeric_limits<double>::quiet_NaN(), -std::nan(""), 1};
  const auto body = [&](const Shard& shard, auto& emit) {
    emit(0, strange[shard.id()]);
    emit(1, shard.id() < 2 ? strange[shard.id()] : 0.0);
  };
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const auto least = aggregation.answer(vector_reduce<double>(2, VectorMin()), 5, seed, body);
    EXPECT_TRUE(std::isnan(least.values()[0]) && !std::signbit(least.values()[0]));
    EXPECT_TRUE(least.values()[1] == 0 && std::signbit(least.values()[1]));
    const auto most = aggregation.answer(vector_reduce<double>(2, VectorMax()), 5, seed, body);
    EXPECT_TRUE(std::isnan(most.values()[0]) && !std::signbit(most.values()[0]));
    EXPECT_TRUE(most.values()[1] == 0 && !std::signbit(most.values()[1]));
  }
}

struct BitOr {
  template <class T>
  static T identity() {
    return 0;
  }
  template <class T>
  static T combine(T left, T right) {
    return left | right;
  }
};

TEST(VectorReduce, TakesAnOperationOfTheUser) {
  test::Aggregation aggregation;
  const auto bits = aggregation.answer(
      vector_reduce<std::uint64_t>(1, BitOr()), 64, 7,
      [](const Shard& shard, auto& emit) { emit(0, std::uint64_t{1} << shard.id()); });
  EXPECT_THAT(bits.values(), ElementsAre(~std::uint64_t{0}));
}

}  // namespace
}  // namespace pinion
