#include <pinion/shard/fold_by_key.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shm/local_blob_store.hpp>

namespace pinion {
namespace {

using WordSums = FoldByKey<std::string_view, Sum<std::uint64_t>>;
using WordResult = KeyedResult<std::string_view, Sum<std::uint64_t>>;
using WordRecords = std::vector<std::pair<std::string, std::uint64_t>>;
using Oracle = std::map<std::string, std::uint64_t>;

constexpr std::uint32_t kPartitions = WordSums::kPartitionCount;

class FoldByKeyTest : public testing::Test {
 protected:
  std::unique_ptr<LocalBlobStore> store_ =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{4} << 30);

  // A state that got `records` in this order.
  static std::unique_ptr<IAggregator> accumulated(const WordRecords& records) {
    std::unique_ptr<IAggregator> state = WordSums().fresh();
    WordSums::Emitter emit(*state, Shard({}));
    for (const auto& [key, value] : records) {
      emit(key, value);
    }
    emit.flush();
    return state;
  }

  Blob sealed(IAggregator& state, std::uint32_t partition_count = kPartitions) {
    return state.seal(*store_, Place{}, partition_count).value();
  }

  static Status merge(IAggregator& state, const std::vector<Blob>& partials,
                      std::uint32_t partition) {
    std::vector<std::span<const std::byte>> parts;
    for (const Blob& partial : partials) {
      parts.push_back(partition_of(partial.bytes(), partition).value());
    }
    return state.merge(parts);
  }

  // What the merge stage makes of partials.
  std::vector<Blob> merged(const std::vector<Blob>& partials) {
    std::vector<Blob> partitions;
    for (std::uint32_t i = 0; i < kPartitions; ++i) {
      std::unique_ptr<IAggregator> state = WordSums().fresh();
      EXPECT_TRUE(merge(*state, partials, i).ok());
      state->finalize();
      partitions.push_back(sealed(*state, 1));
    }
    return partitions;
  }

  static bool same_bytes(const std::vector<Blob>& left, const std::vector<Blob>& right) {
    return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                      [](const Blob& one, const Blob& other) {
                        return std::ranges::equal(one.bytes(), other.bytes());
                      });
  }
};

WordRecords random_records(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  WordRecords records;
  for (std::size_t i = 0; i < count; ++i) {
    std::string key = "k" + std::to_string(random() % (count / 3 + 1));
    key += std::string(1, '\0') + std::string(random() % 5, 'x');
    records.push_back({std::move(key), random()});
  }
  return records;
}

Oracle oracle_of(const WordRecords& records) {
  Oracle oracle;
  for (const auto& [key, value] : records) {
    oracle[key] += value;
  }
  return oracle;
}

Oracle content_of(const WordResult& result) {
  Oracle content;
  for (const auto [key, value] : result) {
    EXPECT_TRUE(content.emplace(key, value).second) << key << " comes twice";
  }
  return content;
}

TEST_F(FoldByKeyTest, AgreesWithAMapWhateverTheGroupingAndTheOrder) {
  WordRecords records = random_records(2000, 7);
  const Oracle oracle = oracle_of(records);
  std::mt19937_64 random(8);
  std::vector<Blob> first_answer;
  for (int round = 0; round < 5; ++round) {
    std::shuffle(records.begin(), records.end(), random);
    std::vector<Blob> partials;
    for (auto from = records.begin(); from != records.end();) {
      const auto left = static_cast<std::uint64_t>(records.end() - from);
      const auto to = from + static_cast<std::ptrdiff_t>(1 + random() % left);
      partials.push_back(sealed(*accumulated(WordRecords(from, to))));
      from = to;
    }
    std::shuffle(partials.begin(), partials.end(), random);
    std::vector<Blob> answer = merged(partials);
    EXPECT_EQ(content_of(WordResult::create(answer).value()), oracle);
    if (round == 0) {
      first_answer = std::move(answer);
    } else {
      EXPECT_TRUE(same_bytes(answer, first_answer)) << "in round " << round;
    }
  }
}

TEST_F(FoldByKeyTest, SealsEqualContentToEqualBytes) {
  WordRecords records = random_records(500, 1);
  const Blob forward = sealed(*accumulated(records));
  std::reverse(records.begin(), records.end());
  const Blob backward = sealed(*accumulated(records));
  EXPECT_TRUE(std::ranges::equal(forward.bytes(), backward.bytes()));
}

// One partial is the answer as it is, unless something comes after it.
TEST_F(FoldByKeyTest, TakesOnePartialAsItIs) {
  const WordRecords records = random_records(3000, 4);
  const auto half = records.begin() + 1000;
  const Blob one = sealed(*accumulated(records));
  const std::vector<Blob> halves = {sealed(*accumulated(WordRecords(records.begin(), half))),
                                    sealed(*accumulated(WordRecords(half, records.end())))};
  for (std::uint32_t i = 0; i < kPartitions; ++i) {
    const std::unique_ptr<IAggregator> alone = WordSums().fresh();
    ASSERT_TRUE(merge(*alone, {one}, i).ok());
    const std::unique_ptr<IAggregator> together = WordSums().fresh();
    ASSERT_TRUE(merge(*together, halves, i).ok());
    const std::unique_ptr<IAggregator> after_each_other = WordSums().fresh();
    ASSERT_TRUE(merge(*after_each_other, {halves[0]}, i).ok());
    ASSERT_TRUE(merge(*after_each_other, {halves[1]}, i).ok());
    const Blob expected = sealed(*together, 1);
    EXPECT_TRUE(std::ranges::equal(sealed(*alone, 1).bytes(), expected.bytes()));
    EXPECT_TRUE(std::ranges::equal(sealed(*after_each_other, 1).bytes(), expected.bytes()));
  }
}

TEST_F(FoldByKeyTest, CutsOnePartialIntoPartitions) {
  const WordRecords records = random_records(3000, 5);
  const Blob expected = sealed(*accumulated(records));
  const Blob whole = sealed(*accumulated(records), 1);
  const std::unique_ptr<IAggregator> state = WordSums().fresh();
  ASSERT_TRUE(merge(*state, {whole}, 0).ok());
  EXPECT_TRUE(std::ranges::equal(sealed(*state).bytes(), expected.bytes()));
}

TEST_F(FoldByKeyTest, KeepsEmptyKeysLongKeysAndKeysOfAnyBytes) {
  const std::string nul("a\0b", 3);
  const std::string high("\xff\xfe", 2);
  WordRecords records = {{"", 1}, {std::string(1u << 20, 'l'), 2}, {nul, 3}, {high, 4}, {"a", 5},
                         {"", 6}};
  const auto answer = WordResult::create(merged({sealed(*accumulated(records))})).value();
  EXPECT_EQ(content_of(answer), oracle_of(records));
  EXPECT_EQ(answer.find(""), 7u);
  EXPECT_EQ(answer.find(nul), 3u);
  EXPECT_EQ(answer.find(std::string(1u << 20, 'l')), 2u);
  EXPECT_EQ(answer.find("b"), std::nullopt);
}

TEST_F(FoldByKeyTest, AddsNothingWhenNothingWasEmitted) {
  const auto answer = WordResult::create(merged({})).value();
  EXPECT_EQ(answer.size(), 0u);
  EXPECT_TRUE(answer.begin() == answer.end());
  EXPECT_EQ(answer.find("x"), std::nullopt);
  EXPECT_TRUE(answer.top(3).empty());
  const WordResult nothing;
  EXPECT_EQ(nothing.find("x"), std::nullopt);
}

// Runs lie in the order of hashes and tables too: one that grew while it takes them would move
// every key past all those before it, and so would one that took the keys of a partition for keys
// of all hashes.
TEST_F(FoldByKeyTest, MergesLargePartialsWithoutCrowdingItsSlots) {
  using Numbers = FoldByKey<std::uint64_t, Sum<std::uint64_t>>;
  constexpr std::size_t kKeyCount = 100'000;
  std::vector<Blob> partials;
  for (std::uint64_t from : {std::uint64_t{0}, std::uint64_t{1} << 40}) {
    Numbers state;
    Numbers::Emitter emit(state, Shard({}));
    for (std::uint64_t key = from; key < from + kKeyCount; ++key) {
      emit(key, 1);
    }
    emit.flush();
    partials.push_back(sealed(state, 4));
  }
  std::size_t size = 0;
  for (std::uint32_t partition = 0; partition < 4; ++partition) {
    Numbers state;
    ASSERT_TRUE(merge(state, partials, partition).ok());
    EXPECT_LT(state.keys().table().displacement(), state.keys().table().size());
    size += state.keys().table().size();
  }
  EXPECT_EQ(size, 2 * kKeyCount - 1);  // 0 is in no table.
}

// Texts of each of the three lengths that have a table of their own.
TEST_F(FoldByKeyTest, MergesLargePartialsOfTextsWithoutCrowdingTheirSlots) {
  std::vector<Blob> partials;
  for (const char side : {'a', 'b'}) {
    WordRecords records;
    for (std::size_t i = 100'000; i < 120'000; ++i) {
      const std::string number = std::to_string(i) + side;
      records.insert(records.end(),
                     {{number, 1}, {number + "medium", 1}, {number + " of a long text", 1}});
    }
    partials.push_back(sealed(*accumulated(records), 4));
  }
  for (std::uint32_t partition = 0; partition < 4; ++partition) {
    WordSums state;
    ASSERT_TRUE(merge(state, partials, partition).ok());
    state.keys().for_each_table([](const auto& table) {
      EXPECT_GT(table.size(), 9'000u);
      EXPECT_LT(table.displacement(), table.size());
    });
  }
}

TEST_F(FoldByKeyTest, MovesNothingWhenItMergesIntoTheRoomItMade) {
  OpenTable<FixedKey<std::uint64_t>, std::uint64_t> table;
  table.reserve(3000);
  const std::uint64_t memory_bytes = table.memory_bytes();
  for (std::uint64_t key = 1; key <= 3000; ++key) {
    table.find_or_add({key}, FixedKey<std::uint64_t>{key}.hash());
  }
  EXPECT_EQ(table.memory_bytes(), memory_bytes);
  EXPECT_EQ(table.size(), 3000u);
}

TEST_F(FoldByKeyTest, SumsIntegerKeysAndWrapsAround) {
  using Numbers = FoldByKey<std::int32_t, Sum<std::int64_t>>;
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  Numbers state;
  Numbers::Emitter emit(state, Shard({}));
  for (int key = -50; key < 50; ++key) {
    emit(key, key);
  }
  emit(7, kMost);
  emit(-3, -7);
  emit.flush();
  std::vector<Blob> blobs;
  const Blob partial = state.seal(*store_, Place{}, 4).value();
  for (std::uint32_t i = 0; i < 4; ++i) {
    Numbers part;
    ASSERT_TRUE(merge(part, {partial}, i).ok());
    blobs.push_back(part.seal(*store_, Place{}, 1).value());
  }
  const auto answer = KeyedResult<std::int32_t, Sum<std::int64_t>>::create(blobs).value();
  EXPECT_EQ(answer.size(), 100u);
  EXPECT_EQ(answer.find(-50), -50);
  EXPECT_EQ(answer.find(-3), -10);
  EXPECT_EQ(answer.find(7), std::numeric_limits<std::int64_t>::min() + 6);
  EXPECT_EQ(answer.find(50), std::nullopt);
}

TEST_F(FoldByKeyTest, SumsFloatingPoint) {
  using Weights = FoldByKey<std::uint8_t, Sum<double>>;
  Weights state;
  Weights::Emitter emit(state, Shard({}));
  emit(1, 0.5);
  emit(1, 0.25);
  emit.flush();
  const auto answer =
      KeyedResult<std::uint8_t, Sum<double>>::create({state.seal(*store_, Place{}, 1).value()})
          .value();
  EXPECT_EQ(answer.find(1), 0.75);
}

TEST_F(FoldByKeyTest, ListsTheGreatestValuesFirstAndEqualOnesByKey) {
  const WordRecords records = {{"d", 2}, {"b", 5}, {"a", 2}, {"c", 5}, {"e", 1}};
  const auto answer = WordResult::create(merged({sealed(*accumulated(records))})).value();
  std::vector<std::string> keys;
  for (const auto& record : answer.top(4)) {
    keys.emplace_back(record.key);
  }
  EXPECT_EQ(keys, (std::vector<std::string>{"b", "c", "a", "d"}));
  EXPECT_EQ(answer.top(100).size(), 5u);
  EXPECT_EQ(answer.total(), 15u);
}

TEST_F(FoldByKeyTest, AnswersAfterTheStoreAndOtherCopiesAreGone) {
  auto answer = std::make_unique<WordResult>(
      WordResult::create(merged({sealed(*accumulated({{"here", 4}}))})).value());
  const WordResult copy = *answer;
  answer.reset();
  store_.reset();
  EXPECT_EQ(copy.find("here"), 4u);
}

TEST_F(FoldByKeyTest, TakesKeysThatEndRightAfterTheEmit) {
  WordSums state;
  const std::string input = "in the shard" + std::string(64, '\0');
  const Shard shard({.bytes = std::as_bytes(std::span(input)).first(12)});
  WordSums::Emitter emit(state, shard);
  for (int i = 0; i < 3000; ++i) {
    emit("made " + std::to_string(i % 1500) + std::string(40, '.'), 1);
    emit(shard.text().substr(0, 2), 1);
  }
  emit(std::string(100'000, 'x'), 1);
  emit.flush();
  const auto answer = WordResult::create({state.seal(*store_, Place{}, 1).value()}).value();
  EXPECT_EQ(answer.size(), 1502u);
  EXPECT_EQ(answer.find("in"), 3000u);
  EXPECT_EQ(answer.find("made 700" + std::string(40, '.')), 2u);
  EXPECT_EQ(answer.find(std::string(100'000, 'x')), 1u);
}

TEST_F(FoldByKeyTest, RefusesBytesOfOtherTypes) {
  const Blob partial = sealed(*accumulated({{"a", 1}}), 1);
  FoldByKey<std::uint64_t, Sum<std::uint64_t>> numbers;
  EXPECT_EQ(merge(numbers, {partial}, 0).code(), ErrorCode::kDataLoss);
  FoldByKey<std::string_view, Sum<double>> weights;
  EXPECT_EQ(merge(weights, {partial}, 0).code(), ErrorCode::kDataLoss);
  FoldByKey<std::string_view, Max<std::uint64_t>> greatest;
  EXPECT_EQ(merge(greatest, {partial}, 0).code(), ErrorCode::kDataLoss);
}

TEST_F(FoldByKeyTest, RefusesACutPartition) {
  const Blob partial = sealed(*accumulated({{"alpha", 1}, {"beta", 2}}), 1);
  const auto bytes = partition_of(partial.bytes(), 0).value();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const std::span<const std::byte> cut = bytes.first(length);
    EXPECT_EQ(WordSums().merge({&cut, 1}).code(), ErrorCode::kDataLoss);
  }
}

// Flips one bit after the other. The checksum finds each; with a checksum that fits the damage the
// rest of the checks is seen. Under AddressSanitizer this also shows that no read leaves the bytes.
TEST_F(FoldByKeyTest, ReadsDamagedBytesWithoutLeavingThem) {
  const Blob intact = sealed(*accumulated({{"alpha", 1}, {"a longer key", 2}, {"", 3}}), 1);
  const std::span<const std::byte> run = partition_of(intact.bytes(), 0).value();
  std::size_t taken = 0;
  for (std::size_t at = 0; at < run.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      // A copy of exactly this size, so that a step outside is seen.
      const std::unique_ptr<std::byte[]> copy(new std::byte[run.size()]);
      const std::span<std::byte> bytes(copy.get(), run.size());
      std::copy(run.begin(), run.end(), bytes.begin());
      bytes[at] ^= std::byte(1u << bit);
      using View = KeyedRunView<std::string_view, Sum<std::uint64_t>>;
      EXPECT_EQ(View::open(bytes).error().code(), ErrorCode::kDataLoss);
      const std::uint64_t checksum = hash_bytes(bytes.subspan(sizeof(std::uint64_t)));
      std::memcpy(bytes.data(), &checksum, sizeof(checksum));
      const Result<View> view = View::open(bytes);
      if (!view) {
        EXPECT_EQ(view.error().code(), ErrorCode::kDataLoss);
        continue;
      }
      ++taken;
      std::size_t key_bytes = 0;
      for (std::size_t i = 0; i < view->size(); ++i) {
        key_bytes += std::string(view->key(i)).size();
      }
      EXPECT_LE(key_bytes, 24u);
      static_cast<void>(view->find("alpha"));
      static_cast<void>(view->find("a longer key"));
      static_cast<void>(view->find(""));
      const std::span<const std::byte> part = bytes;
      static_cast<void>(WordSums().merge({&part, 1}));
    }
  }
  EXPECT_GT(taken, 0u);
}

struct Point {
  std::int32_t x;
  std::int32_t y;
  std::int64_t z;
};

struct LargestKey {
  std::byte bytes[64];
};
struct TooLargeKey {
  std::byte bytes[65];
};
struct PaddedKey {
  std::uint8_t small;
  std::uint64_t large;
};

// Whether a program with this key compiles.
template <class Key>
concept CanBeSummed = requires {
  sum_by_key<Key, int>();
};
static_assert(CanBeSummed<LargestKey> && CanBeSummed<Point> && CanBeSummed<std::string_view>);
static_assert(!CanBeSummed<TooLargeKey>);
static_assert(!CanBeSummed<PaddedKey> && !CanBeSummed<std::string> && !CanBeSummed<double>);

TEST_F(FoldByKeyTest, TakesStructsOfUpTo64BytesAsKeys) {
  FoldByKey<LargestKey, Count> state;
  FoldByKey<LargestKey, Count>::Emitter emit(state, Shard({}));
  for (std::size_t i = 0; i < 640; ++i) {
    LargestKey key = {};
    key.bytes[i % 64] = std::byte{1};
    emit(key);
  }
  emit.flush();
  const auto answer =
      KeyedResult<LargestKey, Count>::create({state.seal(*store_, Place{}, 1).value()}).value();
  EXPECT_EQ(answer.size(), 64u);
  LargestKey last = {};
  last.bytes[63] = std::byte{1};
  EXPECT_EQ(answer.find(last), 10u);
}

// The zero key is kept apart by tables, so it is one of those that are emitted.
TEST_F(FoldByKeyTest, TakesStructsAsKeys) {
  FoldByKey<Point, Count> state;
  FoldByKey<Point, Count>::Emitter emit(state, Shard({}));
  for (int i = 0; i < 1000; ++i) {
    emit({i % 10, 0, i % 7});
  }
  emit.flush();
  const auto answer =
      KeyedResult<Point, Count>::create({state.seal(*store_, Place{}, 1).value()}).value();
  EXPECT_EQ(answer.size(), 70u);
  EXPECT_EQ(answer.record_count(), 1000u);
  EXPECT_EQ(answer.find({0, 0, 0}), 15u);
  EXPECT_EQ(answer.find({9, 0, 6}), 14u);
  EXPECT_EQ(answer.find({9, 1, 6}), std::nullopt);
  EXPECT_EQ(answer.total(), 1000u);
}

TEST_F(FoldByKeyTest, FoldsInOtherWaysThanSums) {
  const std::vector<std::pair<std::string, int>> records = {
      {"a", 3}, {"b", -2}, {"a", 5}, {"b", 9}, {"a", 4}};
  const auto fold = [&](auto aggregator) {
    using A = decltype(aggregator);
    std::vector<Blob> partials;
    for (const auto& [key, value] : records) {
      const std::unique_ptr<IAggregator> state = aggregator.fresh();
      typename A::Emitter emit(*state, Shard({}));
      if constexpr (requires { emit(key, value); }) {
        emit(key, value);
      } else {
        emit(key);
      }
      emit.flush();
      partials.push_back(state->seal(*store_, Place{}, 1).value());
    }
    EXPECT_TRUE(merge(aggregator, partials, 0).ok());
    const auto answer = A::Result::create({sealed(aggregator, 1)}).value();
    return std::pair(answer.find("a").value(), answer.find("b").value());
  };
  EXPECT_EQ(fold(min_by_key<std::string_view, int>()), std::pair(3, -2));
  EXPECT_EQ(fold(max_by_key<std::string_view, int>()), std::pair(5, 9));
  EXPECT_EQ(fold(mean_by_key<std::string_view, int>()), std::pair(4.0, 3.5));
  EXPECT_EQ(fold(sum_by_key<std::string_view, int>()), std::pair(12, 7));
  EXPECT_EQ(fold(count_by_key<std::string_view>()), std::pair(std::uint64_t{3}, std::uint64_t{2}));
}

// Small integers that turn out to be dense move into an array, others stay in the table. Whichever
// it is, the answer is that of a map.
class FoldByIntegerTest : public FoldByKeyTest,
                          public testing::WithParamInterface<std::pair<int, std::uint64_t>> {};

TEST_P(FoldByIntegerTest, AgreesWithAMap) {
  const auto [shift, key_count] = GetParam();
  std::mt19937_64 random(3);
  std::vector<std::uint64_t> keys;
  std::vector<double> values;
  std::map<std::uint64_t, double> oracle;
  for (std::size_t i = 0; i < 200'000; ++i) {
    // Late keys are larger, so that an array that was made has to grow or is left behind.
    const std::uint64_t late = i > 150'000 ? key_count * 3 : 0;
    keys.push_back((random() % key_count + late) << shift);
    values.push_back(static_cast<double>(random() % 1024) / 256);
    oracle[keys.back()] += values.back();
  }
  FoldByKey<std::uint64_t, Sum<double>> state;
  FoldByKey<std::uint64_t, Sum<double>>::Emitter emit(state, Shard({}));
  emit(keys, values);
  emit.flush();
  if (key_count >= 20'000) {
    EXPECT_EQ(state.keys().dense_limit() > 0, shift == 0);
  }
  const auto answer =
      KeyedResult<std::uint64_t, Sum<double>>::create({state.seal(*store_, Place{}, 1).value()})
          .value();
  EXPECT_EQ(answer.size(), oracle.size());
  EXPECT_EQ(answer.record_count(), keys.size());
  std::map<std::uint64_t, double> content;
  for (const auto& [key, value] : answer) {
    content[key] = value;
  }
  EXPECT_EQ(content, oracle);
  for (const auto& [key, value] : oracle) {
    EXPECT_EQ(answer.find(key), value);
  }
}

INSTANTIATE_TEST_SUITE_P(Ranges, FoldByIntegerTest,
                         testing::Values(std::pair(0, 1), std::pair(0, 100), std::pair(0, 5'000),
                                         std::pair(0, 20'000), std::pair(0, 100'000),
                                         std::pair(40, 100), std::pair(40, 20'000),
                                         std::pair(7, 100'000)));

// Keys whose hashes are equal in their high bits fill the end of a table.
struct LastSlotKey {
  std::uint64_t value;
  [[nodiscard]] std::uint64_t hash() const noexcept { return ~std::uint64_t{0} - value % 2; }
  [[nodiscard]] bool empty() const noexcept { return value == 0; }
  friend auto operator<=>(const LastSlotKey&, const LastSlotKey&) = default;
};

TEST(OpenTable, TakesKeysThatAllWantItsLastSlot) {
  OpenTable<LastSlotKey, std::uint64_t> table;
  for (std::uint64_t round = 0; round < 2; ++round) {
    for (std::uint64_t value = 1; value <= 2000; ++value) {
      const LastSlotKey key = {value};
      const auto [slot, added] = table.find_or_add(key, key.hash());
      EXPECT_EQ(added, round == 0);
      slot->state += value;
    }
  }
  const auto entries = entries_in_order(table);
  ASSERT_EQ(entries.size(), 2000u);
  for (std::size_t i = 1; i < entries.size(); ++i) {
    EXPECT_TRUE(entries[i - 1].hash < entries[i].hash ||
                (entries[i - 1].hash == entries[i].hash &&
                 entries[i - 1].slot->key < entries[i].slot->key));
  }
  EXPECT_EQ(entries.front().slot->state % 2, 0u);
}

TEST(OpenTable, TakesHashesOfAnotherPartitionThanItWasToldOf) {
  using K = FixedKey<std::uint64_t>;
  OpenTable<K, std::uint64_t> table;
  table.reserve(10, {.partition = 2, .partition_count = 3});
  for (std::uint64_t value = 1; value <= 3000; ++value) {
    table.find_or_add({value}, K{value}.hash()).first->state = value;
  }
  const auto entries = entries_in_order(table);
  EXPECT_EQ(entries.size(), 3000u);
  EXPECT_TRUE(
      std::is_sorted(entries.begin(), entries.end(),
                     [](const auto& left, const auto& right) { return left.hash < right.hash; }));
}

}  // namespace
}  // namespace pinion
