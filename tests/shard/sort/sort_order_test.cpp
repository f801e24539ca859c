#include "engine/sort_order.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace pinion::engine {
namespace {

std::vector<RecordBytes> views_of(const std::vector<std::string>& records) {
  std::vector<RecordBytes> views;
  for (const std::string& record : records) {
    views.push_back(std::as_bytes(std::span(record)));
  }
  return views;
}

std::vector<std::uint64_t> order_of(const KeyReader& keys,
                                    const std::vector<std::string>& records) {
  const std::vector<RecordBytes> views = views_of(records);
  std::vector<std::uint64_t> prefixes;
  for (const RecordBytes& view : views) {
    prefixes.push_back(keys.prefix(view));
  }
  return SortOrder(keys, RecordTable(views)).run(prefixes);
}

template <class Less>
std::vector<std::uint64_t> oracle(std::size_t count, Less less) {
  std::vector<std::uint64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, less);
  return order;
}

// Strings that share much: few letters, zeros among them, common beginnings, many equal.
std::string make_key(std::mt19937_64& random, std::uint64_t shape, std::size_t length) {
  std::string key;
  const std::string letters(
      "\0\x01"
      "ab\xff",
      5);
  while (key.size() < length) {
    key += shape == 0 ? static_cast<char>(random()) : letters[random() % (1 + shape)];
  }
  return key;
}

TEST(SortOrder, PutsLinesInTheOrderOfAStableSort) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 150; ++round) {
    const std::string begin = make_key(random, 0, round % 3 == 0 ? 0 : random() % 30);
    std::vector<std::string> records(random() % 600);
    for (std::string& record : records) {
      const std::string rest =
          make_key(random, static_cast<std::uint64_t>(round) % 5, random() % 24);
      record = random() % 20 == 0 ? rest : begin + rest;
    }
    const auto expected = oracle(
        records.size(), [&](std::uint64_t a, std::uint64_t b) { return records[a] < records[b]; });
    // With what they share left out of the prefixes, with part of it, and as they are.
    for (const std::string& common : {begin, begin.substr(0, begin.size() / 2), std::string()}) {
      const KeyReader keys(line_records(), common);
      ASSERT_EQ(order_of(keys, records), expected) << "round " << round;
    }
  }
}

TEST(SortOrder, PutsFixedKeysInTheOrderOfAStableSort) {
  std::mt19937_64 random(12);
  for (int round = 0; round < 100; ++round) {
    const auto length = static_cast<std::uint32_t>(random() % 20);
    std::vector<std::string> records(random() % 800);
    for (std::string& record : records) {
      record = make_key(random, 0, 3) +
               make_key(random, static_cast<std::uint64_t>(round) % 5, length) + "xyz";
    }
    const KeyReader keys(fixed_records(length + 6, {.offset = 3, .length = length}));
    const auto expected = oracle(records.size(), [&](std::uint64_t a, std::uint64_t b) {
      return records[a].substr(3, length) < records[b].substr(3, length);
    });
    ASSERT_EQ(order_of(keys, records), expected);
  }
}

template <class Key>
void check_integers(std::mt19937_64& random) {
  for (int round = 0; round < 30; ++round) {
    std::vector<std::string> records(random() % 3000);
    std::vector<Key> values;
    for (std::string& record : records) {
      const Key value = static_cast<Key>(round % 2 == 0 ? random() : random() % 50 - 25);
      values.push_back(value);
      record = "....." + std::string(sizeof(Key), ' ');
      std::memcpy(record.data() + 5, &value, sizeof(value));
    }
    const KeyReader keys(fixed_records_by<Key>(sizeof(Key) + 5, 5));
    ASSERT_EQ(order_of(keys, records),
              oracle(records.size(), [&](auto a, auto b) { return values[a] < values[b]; }));
  }
}

TEST(SortOrder, PutsIntegersInTheirOrder) {
  std::mt19937_64 random(13);
  check_integers<std::uint64_t>(random);
  check_integers<std::int64_t>(random);
  check_integers<std::uint32_t>(random);
  check_integers<std::int16_t>(random);
  check_integers<std::uint8_t>(random);
}

TEST(SortOrder, TakesManyEqualKeysAndKeysThatDifferLate) {
  std::vector<std::string> records(20'000, std::string(300, 'k'));
  for (std::size_t i = 0; i < records.size(); i += 7) {
    records[i] += static_cast<char>('a' + i % 3);
  }
  const KeyReader keys(line_records());
  ASSERT_EQ(order_of(keys, records),
            oracle(records.size(), [&](auto a, auto b) { return records[a] < records[b]; }));
}

// Each record is the one before it and one byte more: every window parts a few from all others.
TEST(SortOrder, TakesKeysOfWhichEachBeginsTheNext) {
  std::vector<std::string> records;
  for (std::size_t i = 0; i < 3000; ++i) {
    records.push_back(std::string((i * 1009) % 3000, 'a') + "b");
  }
  const KeyReader keys(line_records());
  ASSERT_EQ(order_of(keys, records),
            oracle(records.size(), [&](auto a, auto b) { return records[a] < records[b]; }));
}

TEST(KeyReader, GivesPrefixesThatNeverContradictTheKeys) {
  std::mt19937_64 random(14);
  for (int round = 0; round < 20'000; ++round) {
    const std::string common = make_key(random, 3, random() % 4);
    const KeyReader keys(line_records(), common);
    const std::string left = (random() % 2 == 0 ? common : "") + make_key(random, 4, random() % 12);
    const std::string right =
        (random() % 2 == 0 ? common : "") + make_key(random, 4, random() % 12);
    const auto a = std::as_bytes(std::span(left));
    const auto b = std::as_bytes(std::span(right));
    ASSERT_EQ(keys.compare(a, b) < 0, left < right);
    if (left < right) {
      ASSERT_LE(keys.prefix(a), keys.prefix(b));
    }
  }
}

}  // namespace
}  // namespace pinion::engine
