#include <pinion/shard/text.hpp>

#include <cstdint>
#include <ranges>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "shard/input/trial.hpp"

namespace pinion {
namespace {

static_assert(std::ranges::forward_range<Words> && std::ranges::forward_range<Lines>);

using Pieces = std::vector<std::string>;

template <class Range>
Pieces collect(const Range& range) {
  Pieces pieces;
  for (const std::string_view piece : range) {
    pieces.emplace_back(piece);
  }
  return pieces;
}

Pieces naive_words(std::string_view text) {
  const std::string_view letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  Pieces pieces;
  bool inside = false;
  for (const char byte : text) {
    const bool is_letter = letters.find(byte) != std::string_view::npos;
    if (is_letter && !inside) {
      pieces.emplace_back();
    }
    if (is_letter) {
      pieces.back() += byte;
    }
    inside = is_letter;
  }
  return pieces;
}

Pieces naive_lines(std::string_view text) {
  Pieces pieces;
  std::string line;
  for (const char byte : text) {
    if (byte == '\n') {
      pieces.push_back(line);
      line.clear();
    } else {
      line += byte;
    }
  }
  if (!line.empty()) {
    pieces.push_back(line);
  }
  return pieces;
}

// Few different bytes, so that every neighbourhood of them comes up.
std::string random_text(testing_input::Random& random) {
  const std::string_view alphabet("aZ09@[`{/:\n\n\r \0\x80\xff", 17);
  std::string text(random.below(40), ' ');
  for (char& byte : text) {
    byte = alphabet[random.below(alphabet.size())];
  }
  return text;
}

TEST(Words, AreTheRunsOfAsciiLettersAndDigits) {
  EXPECT_EQ(collect(words("The 2 quick-brown_foxes, caf\xc3\xa9!")),
            (Pieces{"The", "2", "quick", "brown", "foxes", "caf"}));
}

TEST(Words, OfNothingAreNone) {
  EXPECT_TRUE(collect(words("")).empty());
  EXPECT_TRUE(collect(words(std::string_view())).empty());
  EXPECT_TRUE(collect(words("  --\n")).empty());
}

TEST(Words, ReachBothEndsOfTheText) {
  EXPECT_EQ(collect(words("a")), (Pieces{"a"}));
  EXPECT_EQ(collect(words("ab cd")), (Pieces{"ab", "cd"}));
}

TEST(Words, KnowEachByte) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text(1, static_cast<char>(byte));
    EXPECT_EQ(collect(words(text)), naive_words(text)) << byte;
  }
}

TEST(Words, AgreeWithTheNaiveWay) {
  testing_input::Random random(1);
  for (int trial = 0; trial < 2000; ++trial) {
    const std::string text = random_text(random);
    ASSERT_EQ(collect(words(text)), naive_words(text)) << testing::PrintToString(text);
  }
}

TEST(Lines, EndAtLineFeeds) {
  EXPECT_EQ(collect(lines("a\nb\n")), (Pieces{"a", "b"}));
  EXPECT_EQ(collect(lines("a\nb")), (Pieces{"a", "b"}));
  EXPECT_EQ(collect(lines("\n")), (Pieces{""}));
  EXPECT_EQ(collect(lines("a\n\n")), (Pieces{"a", ""}));
  EXPECT_EQ(collect(lines("\n\na")), (Pieces{"", "", "a"}));
}

TEST(Lines, KeepCarriageReturnsAndZeroBytes) {
  EXPECT_EQ(collect(lines("a\r\nb\r")), (Pieces{"a\r", "b\r"}));
  EXPECT_EQ(collect(lines(std::string_view("a\0b\n", 4))), (Pieces{std::string("a\0b", 3)}));
}

TEST(Lines, OfNothingAreNone) {
  EXPECT_TRUE(collect(lines("")).empty());
  EXPECT_TRUE(collect(lines(std::string_view())).empty());
}

TEST(Lines, AgreeWithTheNaiveWay) {
  testing_input::Random random(2);
  for (int trial = 0; trial < 2000; ++trial) {
    const std::string text = random_text(random);
    ASSERT_EQ(collect(lines(text)), naive_lines(text)) << testing::PrintToString(text);
  }
}

TEST(Lines, AnIteratorMayBeCopiedAndGoOn) {
  const Lines range = lines("a\nb\nc");
  Lines::Iterator at = range.begin();
  const Lines::Iterator before = at++;
  EXPECT_EQ(*before, "a");
  EXPECT_EQ(*at, "b");
  EXPECT_NE(at, before);
}

}  // namespace
}  // namespace pinion
