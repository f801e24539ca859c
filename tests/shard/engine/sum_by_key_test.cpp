#include <pinion/shard/sum_by_key.hpp>

#include <algorithm>
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

using WordSums = SumByKey<std::string_view, std::uint64_t>;
using WordRecords = std::vector<std::pair<std::string, std::uint64_t>>;
using Oracle = std::map<std::string, std::uint64_t>;

constexpr std::uint32_t kPartitions = WordSums::kPartitionCount;

class SumByKeyTest : public testing::Test {
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

  // What the merge stage makes of partials.
  std::vector<Blob> merged(const std::vector<Blob>& partials) {
    std::vector<Blob> partitions;
    for (std::uint32_t i = 0; i < kPartitions; ++i) {
      std::unique_ptr<IAggregator> state = WordSums().fresh();
      for (const Blob& partial : partials) {
        EXPECT_TRUE(state->merge(partition_of(partial.bytes(), i).value()).ok());
      }
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

Oracle content_of(const KeyedResult<std::string_view, std::uint64_t>& result) {
  Oracle content;
  for (const auto [key, value] : result) {
    EXPECT_TRUE(content.emplace(key, value).second) << key << " comes twice";
  }
  return content;
}

TEST_F(SumByKeyTest, AgreesWithAMapWhateverTheGroupingAndTheOrder) {
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
    EXPECT_EQ(content_of(KeyedResult<std::string_view, std::uint64_t>::create(answer).value()),
              oracle);
    if (round == 0) {
      first_answer = std::move(answer);
    } else {
      EXPECT_TRUE(same_bytes(answer, first_answer)) << "in round " << round;
    }
  }
}

TEST_F(SumByKeyTest, SealsEqualContentToEqualBytes) {
  WordRecords records = random_records(500, 1);
  const Blob forward = sealed(*accumulated(records));
  std::reverse(records.begin(), records.end());
  const Blob backward = sealed(*accumulated(records));
  EXPECT_TRUE(std::ranges::equal(forward.bytes(), backward.bytes()));
}

TEST_F(SumByKeyTest, KeepsEmptyKeysLongKeysAndKeysOfAnyBytes) {
  const std::string nul("a\0b", 3);
  const std::string high("\xff\xfe", 2);
  WordRecords records = {{"", 1}, {std::string(1u << 20, 'l'), 2}, {nul, 3}, {high, 4}, {"a", 5},
                         {"", 6}};
  const auto answer =
      KeyedResult<std::string_view, std::uint64_t>::create(merged({sealed(*accumulated(records))}))
          .value();
  EXPECT_EQ(content_of(answer), oracle_of(records));
  EXPECT_EQ(answer.find(""), 7u);
  EXPECT_EQ(answer.find(nul), 3u);
  EXPECT_EQ(answer.find(std::string(1u << 20, 'l')), 2u);
  EXPECT_EQ(answer.find("b"), std::nullopt);
}

TEST_F(SumByKeyTest, AddsNothingWhenNothingWasEmitted) {
  const auto answer = KeyedResult<std::string_view, std::uint64_t>::create(merged({})).value();
  EXPECT_EQ(answer.size(), 0u);
  EXPECT_TRUE(answer.begin() == answer.end());
  EXPECT_EQ(answer.find("x"), std::nullopt);
  EXPECT_TRUE(answer.top(3).empty());
  const KeyedResult<std::string_view, std::uint64_t> nothing;
  EXPECT_EQ(nothing.find("x"), std::nullopt);
}

// A table that listed and filled its slots by the same bits of the hash would merge in quadratic
// time: every entry displaced by all those before it.
TEST_F(SumByKeyTest, MergesLargePartialsWithoutCrowdingItsSlots) {
  using Numbers = SumByKey<std::uint64_t, std::uint64_t>;
  constexpr std::size_t kKeyCount = 100'000;
  std::vector<Blob> partials;
  for (std::uint64_t from : {std::uint64_t{0}, std::uint64_t{1} << 40}) {
    Numbers state;
    Numbers::Emitter emit(state, Shard({}));
    for (std::uint64_t key = from; key < from + kKeyCount; ++key) {
      emit(key, 1);
    }
    emit.flush();
    partials.push_back(sealed(state, 1));
  }
  Numbers state;
  for (const Blob& partial : partials) {
    ASSERT_TRUE(state.merge(partition_of(partial.bytes(), 0).value()).ok());
  }
  ASSERT_EQ(state.table().entries().size(), 2 * kKeyCount);
  EXPECT_LT(state.table().displacement(), 2 * kKeyCount);
}

TEST_F(SumByKeyTest, SpreadsThePartitionsOverWholeTables) {
  WordRecords records;
  for (std::size_t i = 0; i < 20'000; ++i) {
    records.push_back({std::to_string(i), 1});
  }
  const Blob partial = sealed(*accumulated(records));
  for (std::uint32_t i = 0; i < kPartitions; ++i) {
    WordSums state;
    ASSERT_TRUE(state.merge(partition_of(partial.bytes(), i).value()).ok());
    const std::size_t count = state.table().entries().size();
    EXPECT_GT(count, 20'000u / kPartitions / 2);
    EXPECT_LT(state.table().displacement(), count);
  }
}

TEST_F(SumByKeyTest, MovesNothingWhenItMergesIntoTheRoomItMade) {
  KeyedTable<std::uint64_t, std::uint64_t> table;
  table.reserve(3000);
  const std::uint64_t memory_bytes = table.memory_bytes();
  for (std::uint64_t key = 0; key < 3000; ++key) {
    table.add(hash_key(key), key, 1);
  }
  EXPECT_EQ(table.memory_bytes(), memory_bytes);

  WordSums grown;
  for (const Blob& partial : {sealed(*accumulated(random_records(3000, 3)), 1)}) {
    ASSERT_TRUE(grown.merge(partition_of(partial.bytes(), 0).value()).ok());
  }
  KeyedTable<std::string_view, std::uint64_t> exact;
  exact.reserve(grown.table().entries().size());
  for (const auto& entry : grown.table().entries()) {
    exact.add(entry.hash, entry.key, entry.value);
  }
  EXPECT_EQ(grown.memory_bytes(), exact.memory_bytes());
}

TEST_F(SumByKeyTest, SumsIntegerKeysAndWrapsAround) {
  using Numbers = SumByKey<std::int32_t, std::int64_t>;
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
    ASSERT_TRUE(part.merge(partition_of(partial.bytes(), i).value()).ok());
    blobs.push_back(part.seal(*store_, Place{}, 1).value());
  }
  const auto answer = KeyedResult<std::int32_t, std::int64_t>::create(blobs).value();
  EXPECT_EQ(answer.size(), 100u);
  EXPECT_EQ(answer.find(-50), -50);
  EXPECT_EQ(answer.find(-3), -10);
  EXPECT_EQ(answer.find(7), std::numeric_limits<std::int64_t>::min() + 6);
  EXPECT_EQ(answer.find(50), std::nullopt);
}

TEST_F(SumByKeyTest, SumsFloatingPoint) {
  using Weights = SumByKey<std::uint8_t, double>;
  Weights state;
  Weights::Emitter emit(state, Shard({}));
  emit(1, 0.5);
  emit(1, 0.25);
  emit.flush();
  const auto answer =
      KeyedResult<std::uint8_t, double>::create({state.seal(*store_, Place{}, 1).value()}).value();
  EXPECT_EQ(answer.find(1), 0.75);
}

TEST_F(SumByKeyTest, ListsTheGreatestValuesFirstAndEqualOnesByKey) {
  const WordRecords records = {{"d", 2}, {"b", 5}, {"a", 2}, {"c", 5}, {"e", 1}};
  const auto answer =
      KeyedResult<std::string_view, std::uint64_t>::create(merged({sealed(*accumulated(records))}))
          .value();
  std::vector<std::string> keys;
  for (const auto& record : answer.top(4)) {
    keys.emplace_back(record.key);
  }
  EXPECT_EQ(keys, (std::vector<std::string>{"b", "c", "a", "d"}));
  EXPECT_EQ(answer.top(100).size(), 5u);
  EXPECT_EQ(answer.total(), 15u);
}

TEST_F(SumByKeyTest, AnswersAfterTheStoreAndOtherCopiesAreGone) {
  auto answer = std::make_unique<KeyedResult<std::string_view, std::uint64_t>>(
      KeyedResult<std::string_view, std::uint64_t>::create(
          merged({sealed(*accumulated({{"here", 4}}))}))
          .value());
  const KeyedResult<std::string_view, std::uint64_t> copy = *answer;
  answer.reset();
  store_.reset();
  EXPECT_EQ(copy.find("here"), 4u);
}

TEST_F(SumByKeyTest, TakesKeysThatEndRightAfterTheEmit) {
  WordSums state;
  const std::string input = "in the shard";
  const Shard shard({.bytes = std::as_bytes(std::span(input))});
  WordSums::Emitter emit(state, shard);
  for (int i = 0; i < 3000; ++i) {
    emit("made " + std::to_string(i % 1500) + std::string(40, '.'), 1);
    emit(shard.text().substr(0, 2), 1);
  }
  emit(std::string(100'000, 'x'), 1);
  emit.flush();
  const auto answer = KeyedResult<std::string_view, std::uint64_t>::create(
                          {state.seal(*store_, Place{}, 1).value()})
                          .value();
  EXPECT_EQ(answer.size(), 1502u);
  EXPECT_EQ(answer.find("in"), 3000u);
  EXPECT_EQ(answer.find("made 700" + std::string(40, '.')), 2u);
  EXPECT_EQ(answer.find(std::string(100'000, 'x')), 1u);
}

TEST_F(SumByKeyTest, RefusesBytesOfOtherTypes) {
  const Blob partial = sealed(*accumulated({{"a", 1}}), 1);
  const auto bytes = partition_of(partial.bytes(), 0).value();
  EXPECT_EQ((SumByKey<std::uint64_t, std::uint64_t>().merge(bytes).code()), ErrorCode::kDataLoss);
  EXPECT_EQ((SumByKey<std::string_view, double>().merge(bytes).code()), ErrorCode::kDataLoss);
  EXPECT_EQ((SumByKey<std::string_view, std::uint32_t>().merge(bytes).code()),
            ErrorCode::kDataLoss);
}

TEST_F(SumByKeyTest, RefusesACutPartition) {
  const Blob partial = sealed(*accumulated({{"alpha", 1}, {"beta", 2}}), 1);
  const auto bytes = partition_of(partial.bytes(), 0).value();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(WordSums().merge(bytes.first(length)).code(), ErrorCode::kDataLoss);
  }
}

// Under AddressSanitizer this also shows that no read leaves the bytes.
TEST_F(SumByKeyTest, ReadsDamagedBytesWithoutLeavingThem) {
  const Blob intact = sealed(*accumulated({{"alpha", 1}, {"beta", 2}, {"", 3}}), 1);
  std::size_t refused = 0;
  std::size_t taken = 0;
  for (std::size_t at = 0; at < intact.bytes().size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      // A copy of exactly this size, so that a step outside is seen.
      const std::unique_ptr<std::byte[]> copy(new std::byte[intact.bytes().size()]);
      const std::span<std::byte> bytes(copy.get(), intact.bytes().size());
      std::copy(intact.bytes().begin(), intact.bytes().end(), bytes.begin());
      bytes[at] ^= std::byte(1u << bit);
      const auto result = KeyedResult<std::string_view, std::uint64_t>::create(
          {Blob(BlobHandle{}, Place{}, bytes, nullptr)});
      if (!result) {
        EXPECT_EQ(result.error().code(), ErrorCode::kDataLoss);
        ++refused;
        continue;
      }
      ++taken;
      std::size_t key_bytes = 0;
      for (const auto [key, value] : *result) {
        key_bytes += std::string(key).size();
      }
      EXPECT_EQ(key_bytes, 9u);
      static_cast<void>(result->find("beta"));
      EXPECT_TRUE(
          WordSums().merge(partition_of(std::span<const std::byte>(bytes), 0).value()).ok());
    }
  }
  EXPECT_GT(refused, 0u);
  EXPECT_GT(taken, 0u);
}

}  // namespace
}  // namespace pinion
