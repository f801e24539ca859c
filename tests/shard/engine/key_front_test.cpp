#include <pinion/shard/key_front.hpp>

#include <cstdint>
#include <map>
#include <random>

#include <gtest/gtest.h>

namespace pinion {
namespace {

// Two sets of two, so that keys drive each other out all the time.
using Front = KeyFront<ShortText, Sum<std::uint64_t>, 64>;
using Table = OpenTable<ShortText, std::uint64_t>;

std::map<std::uint64_t, std::uint64_t> content_of(const Table& table) {
  std::map<std::uint64_t, std::uint64_t> content;
  table.for_each([&](const auto& slot) { content[slot.key.word] = slot.state; });
  return content;
}

TEST(KeyFront, LosesNothingWhenKeysDriveEachOtherOut) {
  std::mt19937_64 random(1);
  Front front;
  front.prepare();
  Table table;
  std::map<std::uint64_t, std::uint64_t> oracle;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t key = 1 + (random() % 4 == 0 ? random() % 3000 : random() % 5);
    front.add({key}, mix_bits(key), 1, table);
    ++oracle[key];
  }
  front.drain(table);
  EXPECT_EQ(content_of(table), oracle);
}

TEST(KeyFront, KeepsAKeyThatComesOftenBesideKeysThatComeOnce) {
  Front front;
  front.prepare();
  Table table;
  constexpr std::uint64_t kOften = 1;
  for (std::uint64_t once = 1000; once < 2000; ++once) {
    front.add({kOften}, 0, 1, table);
    front.add({once}, 0, 1, table);  // The same set.
  }
  // Some lists were worked off by now, and the frequent key was on none of them.
  EXPECT_GT(table.size(), 500u);
  front.add({kOften}, 0, 1, table);
  EXPECT_EQ(content_of(table).count(kOften), 0u);
  front.drain(table);
  EXPECT_EQ(content_of(table).at(kOften), 1001u);
  EXPECT_EQ(content_of(table).size(), 1001u);
}

TEST(KeyFront, IsEmptyAfterItWasDrained) {
  Front front;
  Table table;
  front.drain(table);  // Nothing was prepared.
  front.prepare();
  front.add({7}, 0, 5, table);
  front.drain(table);
  front.drain(table);
  EXPECT_EQ(content_of(table), (std::map<std::uint64_t, std::uint64_t>{{7, 5}}));
  front.add({7}, 0, 2, table);
  front.drain(table);
  EXPECT_EQ(content_of(table), (std::map<std::uint64_t, std::uint64_t>{{7, 7}}));
}

}  // namespace
}  // namespace pinion
