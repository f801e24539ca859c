#include <pinion/shard/row_scatter.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shard/fixed_key_state.hpp>

namespace pinion {
namespace {

using Sum64 = Sum<std::uint64_t>;
using State = FixedKeyState<std::uint64_t, Sum64>;
using Scatter = RowScatter<FixedKey<std::uint64_t>, Sum64>;

constexpr std::size_t kEnters = std::size_t{1} << 20;  // Keys that a state has before it asks.

// Spread so far that no array holds them.
constexpr std::uint64_t key_of(std::uint64_t number) {
  return (number + 1) * 0x9E3779B97F4A7C15u;
}
constexpr std::uint64_t number_of(std::uint64_t key) {
  return key * 0xF1DE83E19937733Du - 1;
}
static_assert(number_of(key_of(12345)) == 12345);

void add_numbers(State& state, std::uint64_t begin, std::uint64_t end, std::uint64_t key_count) {
  std::vector<std::uint64_t> keys;
  for (std::uint64_t i = begin; i < end; ++i) {
    keys.push_back(key_of(i % key_count));
  }
  state.add(keys, std::vector<std::uint64_t>(keys.size(), 1));
}

template <class Entries>
void expect_in_order(const Entries& entries) {
  const auto comes_after = [](const auto& left, const auto& right) {
    return left.hash > right.hash ||
           (left.hash == right.hash && !(left.slot->key < right.slot->key));
  };
  EXPECT_EQ(std::ranges::adjacent_find(entries, comes_after), entries.end());
}

// Each of the first `key_count` numbers `times` times.
void expect_counts(State& state, std::uint64_t key_count, std::uint64_t times) {
  const auto entries = state.in_order();
  expect_in_order(entries);
  std::vector<std::uint64_t> counts(key_count);
  KeySum listed;
  for (const auto& entry : entries) {
    listed.add(entry.hash);
    const std::uint64_t number = number_of(entry.slot->key.value);
    ASSERT_LT(number, key_count);
    counts[number] += entry.slot->state;
  }
  EXPECT_EQ(entries.size(), key_count);
  EXPECT_EQ(listed, state.held());
  EXPECT_EQ(std::ranges::count(counts, times), static_cast<std::ptrdiff_t>(key_count));
}

TEST(RowScatter, JoinsTheRowsOfAKeyInTheOrderInWhichTheyCame) {
  struct Last {  // Keeps the state that was joined last, so that another order shows.
    using Value = std::uint64_t;
    using State = std::uint64_t;
    using Answer = std::uint64_t;
    static State first(Value value) { return value; }
    static void add(State& state, Value value) { state = value; }
    static void join(State& state, State other) { state = other; }
    static Answer answer(State state) { return state; }
  };
  RowScatter<FixedKey<std::uint64_t>, Last> scatter;
  std::map<std::uint64_t, std::uint64_t> expected;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    const FixedKey<std::uint64_t> key = {key_of(i * i % 999)};
    scatter.add(key, key.hash(), i);
    expected[key.value] = i;
  }
  EXPECT_EQ(scatter.row_count(), 100'000u);
  std::vector<OrderedEntry<FixedKey<std::uint64_t>, std::uint64_t>> entries;
  const KeySum joined = scatter.append_in_order(entries);
  EXPECT_EQ(joined.count, 100'000u - expected.size());
  expect_in_order(entries);
  std::map<std::uint64_t, std::uint64_t> found;
  for (const auto& entry : entries) {
    found[entry.slot->key.value] = entry.slot->state;
  }
  EXPECT_EQ(entries.size(), expected.size());
  EXPECT_EQ(found, expected);
}

TEST(RowScatter, GuessesHowManyRowsHaveAKeyOfTheirOwn) {
  Scatter alone;
  EXPECT_EQ(alone.distinct_share(), 1.0);  // Of no row.
  Scatter repeated;
  for (std::uint64_t i = 0; i < 200'000; ++i) {
    const FixedKey<std::uint64_t> own = {key_of(i)};
    alone.add(own, own.hash(), 1);
    const FixedKey<std::uint64_t> fourth = {key_of(i / 4)};
    repeated.add(fourth, fourth.hash(), 1);
  }
  EXPECT_EQ(alone.distinct_share(), 1.0);
  EXPECT_EQ(repeated.distinct_share(), 0.25);
  EXPECT_EQ(repeated.row_count(), 200'000u);  // A guess joins nothing.
}

TEST(RowScatter, IsWhatAStateKeepsWhileKeysHardlyComeAgain) {
  State state;
  add_numbers(state, 0, kEnters - 1, kEnters * 2);
  EXPECT_FALSE(state.keeps_rows());
  add_numbers(state, kEnters - 1, kEnters * 2, kEnters * 2);
  EXPECT_TRUE(state.keeps_rows());
  EXPECT_EQ(state.table().size(), 0u);
  expect_counts(state, kEnters * 2, 1);
  // What comes after the list was made is joined with what is in it.
  add_numbers(state, 0, kEnters * 2, kEnters * 2);
  expect_counts(state, kEnters * 2, 2);
}

TEST(RowScatter, IsLeftWhenKeysComeAgain) {
  State state;
  const std::uint64_t key_count = kEnters + kEnters / 4;
  add_numbers(state, 0, key_count, key_count);
  ASSERT_TRUE(state.keeps_rows());
  for (std::uint64_t round = 1; round < 4; ++round) {
    add_numbers(state, 0, key_count, key_count);
  }
  EXPECT_FALSE(state.keeps_rows());
  EXPECT_EQ(state.table().size(), key_count);
  expect_counts(state, key_count, 4);
  // Not a few rows of new keys, but most of them bring it back.
  add_numbers(state, key_count, key_count * 4 + 4096, key_count * 5);
  EXPECT_TRUE(state.keeps_rows());
}

TEST(RowScatter, IsNotBegunWhereKeysComeSeveralTimesEach) {
  State state;
  for (std::uint64_t begin = 0; begin < kEnters * 2; begin += 1024) {
    add_numbers(state, begin, begin + 1024, kEnters * 2);
    add_numbers(state, begin, begin + 1024, kEnters * 2);
  }
  EXPECT_FALSE(state.keeps_rows());
  expect_counts(state, kEnters * 2, 2);
}

TEST(RowScatter, TakesTheKeyOfZeroBytesAndSealedStates) {
  State state;
  add_numbers(state, 0, kEnters * 2, kEnters * 2);
  ASSERT_TRUE(state.keeps_rows());
  const std::array<std::uint64_t, 3> zeros = {};
  const std::array<std::uint64_t, 3> ones = {1, 1, 1};
  state.add(zeros, ones);
  state.join({0}, 4);
  state.join({key_of(5)}, 10);
  const auto entries = state.in_order();
  expect_in_order(entries);
  ASSERT_EQ(entries.size(), kEnters * 2 + 1);
  EXPECT_EQ(entries.front().slot->key.value, 0u);
  EXPECT_EQ(entries.front().slot->state, 7u);
  const auto joined = std::ranges::find_if(
      entries, [](const auto& entry) { return entry.slot->key.value == key_of(5); });
  ASSERT_NE(joined, entries.end());
  EXPECT_EQ(joined->slot->state, 11u);
}

// Equal content must be equal bytes, whichever way it was kept.
TEST(RowScatter, GivesTheSameListAsATable) {
  State kept;
  add_numbers(kept, 0, kEnters * 2, kEnters * 2);
  ASSERT_TRUE(kept.keeps_rows());
  State table;
  table.reserve(kEnters * 2);
  for (std::uint64_t i = kEnters * 2; i > 0; --i) {
    table.join({key_of(i - 1)}, 1);
  }
  ASSERT_FALSE(table.keeps_rows());
  const auto left = kept.in_order();
  const auto right = table.in_order();
  EXPECT_TRUE(std::ranges::equal(left, right, [](const auto& one, const auto& other) {
    return one.slot->key == other.slot->key && one.slot->state == other.slot->state;
  }));
}

TEST(RowScatter, CountsItsMemory) {
  State state;
  add_numbers(state, 0, kEnters * 4, kEnters * 4);
  ASSERT_TRUE(state.keeps_rows());
  const std::uint64_t rows_bytes = kEnters * 4 * 16;
  EXPECT_GE(state.memory_bytes(), rows_bytes);
  EXPECT_LE(state.memory_bytes(), rows_bytes + (std::uint64_t{16} << 20));
}

// Structs are as large as a cache line here, so that a chunk is not a whole number of rows.
TEST(RowScatter, KeepsStructs) {
  struct Key {
    std::array<std::uint64_t, 5> words;
  };
  FixedKeyState<Key, Sum64> state;
  std::vector<Key> keys;
  for (std::uint64_t i = 0; i < kEnters * 2; ++i) {
    keys.push_back({{i, i + 1, 0, 0, 7}});
  }
  const std::vector<std::uint64_t> ones(keys.size(), 1);
  state.add(keys, ones);
  ASSERT_TRUE(state.keeps_rows());
  const auto entries = state.in_order();
  expect_in_order(entries);
  ASSERT_EQ(entries.size(), keys.size());
  std::vector<bool> seen(keys.size());
  for (const auto& entry : entries) {
    ASSERT_EQ(entry.slot->state, 1u);
    seen[entry.slot->key.value.words[0]] = true;
  }
  EXPECT_EQ(std::ranges::count(seen, true), static_cast<std::ptrdiff_t>(keys.size()));
}

}  // namespace
}  // namespace pinion
