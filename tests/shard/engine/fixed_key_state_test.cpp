#include <pinion/shard/fixed_key_state.hpp>

#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

using Sums = FixedKeyState<std::uint32_t, Sum<double>>;

struct Rows {
  std::vector<std::uint32_t> keys;
  std::vector<double> values;

  void add(std::uint32_t key, double value) {
    keys.push_back(key);
    values.push_back(value);
  }
};

template <class F>
std::map<std::uint32_t, typename F::State> content_of(FixedKeyState<std::uint32_t, F>& state) {
  std::map<std::uint32_t, typename F::State> content;
  KeySum listed;
  for (const auto& entry : state.in_order()) {
    listed.add(entry.hash);
    const bool added = content.emplace(entry.slot->key.value, entry.slot->state).second;
    EXPECT_TRUE(added) << entry.slot->key.value << " comes twice";
  }
  EXPECT_EQ(listed, state.held());
  return content;
}

std::map<std::uint32_t, double> sums_of(const Rows& rows) {
  std::map<std::uint32_t, double> sums;
  for (std::size_t i = 0; i < rows.keys.size(); ++i) {
    sums[rows.keys[i]] += rows.values[i];
  }
  return sums;
}

// How many keys there are: some fit into an array that is there several times, some do not.
class DenseKeysTest : public testing::TestWithParam<std::uint32_t> {};

// An element that is zero was never added, or its sum is zero: only a mark tells.
TEST_P(DenseKeysTest, KeepsKeysWhoseSumIsZero) {
  const std::uint32_t key_count = GetParam();
  Rows rows;
  for (std::uint32_t round = 0; round < 4; ++round) {
    for (std::uint32_t key = 0; key < key_count; ++key) {
      const double sign = round % 2 == 0 ? 1 : -1;
      switch (key % 4) {
        case 0:  // Back to zero in the last round.
          rows.add(key, sign * (1 + key));
          break;
        case 1:  // Never anything else.
          rows.add(key, 0);
          break;
        case 2:
          rows.add(key, -0.0);
          break;
        default:  // Never there: its rows are those of the key before it.
          rows.add(key - 1, round == 3 ? 0.25 : 0);
          break;
      }
    }
  }
  Sums state;
  state.add(rows.keys, rows.values);
  EXPECT_GT(state.dense_limit(), 0u);
  EXPECT_EQ(content_of(state), sums_of(rows));
}

// Zero sums must not get lost when the array grows and what has come later moves in.
TEST_P(DenseKeysTest, KeepsKeysWhoseSumIsZeroWhenItGrows) {
  const std::uint32_t key_count = GetParam();
  Rows rows;
  for (std::uint32_t part = 1; part <= 4; ++part) {
    for (std::uint32_t key = 0; key < part * key_count; ++key) {
      rows.add(key, key % 3 == 0 ? 0 : key);
      rows.add(key, key % 3 == 0 ? 0 : -1.0 * key);
    }
  }
  Sums state;
  state.add(rows.keys, rows.values);
  EXPECT_GT(state.dense_limit(), key_count);
  EXPECT_EQ(content_of(state), sums_of(rows));
}

TEST_P(DenseKeysTest, AddsRowsOfFewFrequentAndManyRareKeys) {
  const std::uint32_t key_count = GetParam();
  std::mt19937_64 random(5);
  Rows rows;
  for (std::size_t i = 0; i < 300'000; ++i) {
    const bool frequent = random() % 2 == 0;
    const auto key = static_cast<std::uint32_t>(random() % (frequent ? 3 : key_count));
    // At last keys too that no array can hold.
    rows.add(i > 200'000 && random() % 1000 == 0 ? 0xffffffff - key : key,
             static_cast<double>(random() % 1024) / 256);
  }
  Sums state;
  state.add(rows.keys, rows.values);
  EXPECT_GT(state.dense_limit(), 0u);
  EXPECT_EQ(content_of(state), sums_of(rows));
}

INSTANTIATE_TEST_SUITE_P(Counts, DenseKeysTest, testing::Values(100, 900, 5'000, 100'000));

// The state depends on what was emitted and on nothing else, to the last bit of sums that are not
// exact.
TEST(FixedKeyState, GivesEqualBitsForEqualRows) {
  std::mt19937_64 random(6);
  Rows rows;
  for (std::size_t i = 0; i < 200'000; ++i) {
    rows.add(static_cast<std::uint32_t>(random() % 700), 1.0 / static_cast<double>(1 + random()));
  }
  Sums first;
  first.add(rows.keys, rows.values);
  const auto content = content_of(first);
  Sums second;
  second.add(rows.keys, rows.values);
  EXPECT_EQ(content_of(second), content);
}

TEST(FixedKeyState, FoldsDenseKeysThatDoNotStartFromZero) {
  FixedKeyState<std::uint32_t, Max<int>> state;
  std::vector<std::uint32_t> keys;
  std::vector<int> values;
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t key = 0; key < 3'000; ++key) {
      keys.push_back(key);
      values.push_back(key % 2 == 0 ? -5 - round : 0);
    }
  }
  state.add(keys, values);
  EXPECT_GT(state.dense_limit(), 0u);
  const auto content = content_of(state);
  EXPECT_EQ(content.size(), 3'000u);
  for (const auto& [key, greatest] : content) {
    EXPECT_EQ(greatest, key % 2 == 0 ? -5 : 0);
  }
}

TEST(FixedKeyState, FoldsDenseKeysIntoStatesOfTwoWords) {
  FixedKeyState<std::uint32_t, Mean<int>> state;
  std::vector<std::uint32_t> keys;
  std::vector<int> values;
  for (int round = 0; round < 4; ++round) {
    for (std::uint32_t key = 0; key < 2'000; ++key) {
      keys.push_back(key);
      values.push_back(round % 2 == 0 ? 0 : static_cast<int>(key));
    }
  }
  state.add(keys, values);
  EXPECT_GT(state.dense_limit(), 0u);
  for (const auto& [key, mean] : content_of(state)) {
    EXPECT_EQ(mean.count, 4u);
    EXPECT_EQ(mean.sum, 2.0 * key);
  }
}

}  // namespace
}  // namespace pinion
