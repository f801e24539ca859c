#include "shard/input/text_trial.hpp"

#include <pinion/shard/text.hpp>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <ranges>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

using testing_input::GuardedText;
using testing_input::HugeText;
using testing_input::random_text;

static_assert(std::ranges::forward_range<Words> && std::ranges::forward_range<Lines> &&
              std::ranges::forward_range<Fields>);

using Pieces = std::vector<std::string_view>;

template <class Range>
Pieces collect(const Range& range) {
  Pieces pieces;
  for (const std::string_view piece : range) {
    pieces.push_back(piece);
  }
  return pieces;
}

Pieces naive_words(std::string_view text) {
  const std::string_view letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  Pieces pieces;
  std::size_t begin = 0;
  for (std::size_t at = 0; at <= text.size(); ++at) {
    if (at == text.size() || letters.find(text[at]) == std::string_view::npos) {
      if (begin < at) {
        pieces.push_back(text.substr(begin, at - begin));
      }
      begin = at + 1;
    }
  }
  return pieces;
}

Pieces naive_fields(std::string_view text, char delimiter) {
  Pieces pieces;
  std::size_t begin = 0;
  for (std::size_t at = 0; at <= text.size(); ++at) {
    if (at == text.size() || text[at] == delimiter) {
      pieces.push_back(text.substr(begin, at - begin));
      begin = at + 1;
    }
  }
  return pieces;
}

Pieces naive_lines(std::string_view text) {
  Pieces pieces = naive_fields(text, '\n');
  if (pieces.back().empty()) {
    pieces.pop_back();
  }
  return pieces;
}

// Beside the content, where it lies.
void expect_same(const Pieces& found, const Pieces& expected, std::string_view text) {
  const auto same = [](std::string_view left, std::string_view right) {
    return left.data() == right.data() && left.size() == right.size();
  };
  const bool equal = std::ranges::equal(found, expected, same);
  EXPECT_TRUE(equal) << found.size() << " pieces instead of " << expected.size() << " in "
                     << testing::PrintToString(text.substr(0, 5000));
}

void expect_the_naive_pieces(std::string_view text) {
  expect_same(collect(words(text)), naive_words(text), text);
  expect_same(collect(lines(text)), naive_lines(text), text);
  for (const char delimiter : {',', '\0', '\xff', 'a'}) {
    expect_same(collect(fields(text, delimiter)), naive_fields(text, delimiter), text);
  }
}

class TextOnEachTarget : public testing_input::OnEachTarget {};
INSTANTIATE_TEST_SUITE_P(Target, TextOnEachTarget,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         testing_input::target_name);

TEST_P(TextOnEachTarget, EachByteIsInAWordOrNot) {
  for (int byte = 0; byte < 256; ++byte) {
    for (const std::size_t size : {1u, 63u, 64u, 65u, 200u}) {
      expect_the_naive_pieces(std::string(size, static_cast<char>(byte)));
    }
  }
}

TEST_P(TextOnEachTarget, EachByteMayDelimitFields) {
  std::string text;
  for (int byte = 0; byte < 512; ++byte) {
    text += static_cast<char>(byte);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto delimiter = static_cast<char>(byte);
    expect_same(collect(fields(text, delimiter)), naive_fields(text, delimiter), text);
  }
}

// Reading one byte outside the text would end the test by a signal.
TEST_P(TextOnEachTarget, PiecesAreTheNaiveOnesAndNoByteOutsideIsRead) {
  testing_input::Random random(1);
  for (const std::size_t size : testing_input::interesting_sizes()) {
    const std::string text = random_text(random, size);
    expect_the_naive_pieces(GuardedText(text, GuardedText::Side::kBegin).text());
    expect_the_naive_pieces(GuardedText(text, GuardedText::Side::kEnd).text());
    if (HasFailure()) {
      FAIL() << "a text of " << size << " bytes";
    }
  }
}

TEST_P(TextOnEachTarget, PiecesOfManyBlocksAreTheNaiveOnes) {
  testing_input::Random random(2);
  for (int trial = 0; trial < 60 && !HasFailure(); ++trial) {
    const std::string text = random_text(random, 10'000 + random.below(30'000));
    // Another begin is another position in a vector.
    expect_the_naive_pieces(std::string_view(text).substr(random.below(64)));
  }
}

TEST_P(TextOnEachTarget, PiecesMayBeLongerThanBlocks) {
  for (const std::size_t size : {4095u, 4096u, 4097u, 8192u, 20'000u}) {
    for (const std::size_t before : {0u, 1u, 3u, 4095u, 4096u}) {
      const std::string text = std::string(before, ' ') + std::string(size, 'x');
      expect_the_naive_pieces(text);
      expect_the_naive_pieces(text + ",\n" + text + ' ');
      expect_the_naive_pieces("a b" + text);
    }
  }
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

TEST(Words, AndLinesMayBeLongerThan4GiB) {
  const HugeText huge('a', " b cd\ne");
  const Pieces found = collect(words(huge.text()));
  const std::size_t long_word = HugeText::kLetterCount;
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].data(), huge.text().data());
  EXPECT_EQ(found[0].size(), long_word);
  EXPECT_EQ((Pieces{found[1], found[2], found[3]}), (Pieces{"b", "cd", "e"}));

  const Pieces found_lines = collect(lines(huge.text()));
  ASSERT_EQ(found_lines.size(), 2u);
  EXPECT_EQ(found_lines[0].size(), long_word + 5);
  EXPECT_EQ(found_lines[1], "e");
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
  EXPECT_EQ(collect(lines(std::string_view("a\0b\n", 4))), (Pieces{std::string_view("a\0b", 3)}));
}

TEST(Lines, OfNothingAreNone) {
  EXPECT_TRUE(collect(lines("")).empty());
  EXPECT_TRUE(collect(lines(std::string_view())).empty());
}

TEST(Fields, AreOneMoreThanTheDelimiters) {
  EXPECT_EQ(collect(fields("", ',')), (Pieces{""}));
  EXPECT_EQ(collect(fields(std::string_view(), ',')), (Pieces{""}));
  EXPECT_EQ(collect(fields("a", ',')), (Pieces{"a"}));
  EXPECT_EQ(collect(fields(",", ',')), (Pieces{"", ""}));
  EXPECT_EQ(collect(fields("a,,b,", ',')), (Pieces{"a", "", "b", ""}));
  EXPECT_EQ(collect(fields("a b\tc", '\t')), (Pieces{"a b", "c"}));
}

TEST(Fields, QuotesAreBytesAsOthers) {
  EXPECT_EQ(collect(fields("\"a,b\"", ',')), (Pieces{"\"a", "b\""}));
}

// Each iterator, by turns with one that is somewhere else in the text.
template <class Range>
void expect_that_copies_go_on(const Range& range) {
  const Pieces expected = collect(range);
  auto behind = range.begin();
  auto ahead = std::ranges::next(range.begin(), static_cast<std::ptrdiff_t>(expected.size() / 2));
  auto copy = behind;
  for (std::size_t i = 0; i < expected.size(); ++i, ++behind) {
    ASSERT_NE(behind, std::default_sentinel);
    ASSERT_EQ(*behind, expected[i]);
    if (ahead != std::default_sentinel) {
      ASSERT_NE(ahead, behind);
      ASSERT_EQ(*ahead, expected[expected.size() / 2 + i]);
      ++ahead;
    }
    if (i % 7 == 0) {
      copy = behind;
    } else {
      ASSERT_EQ(++copy, behind);
      ASSERT_EQ(*copy, *behind);
    }
  }
  EXPECT_EQ(behind, std::default_sentinel);
  EXPECT_EQ(ahead, std::default_sentinel);
}

TEST(TextRanges, CopiesOfAnIteratorGoOnByTurns) {
  testing_input::Random random(3);
  for (int trial = 0; trial < 20; ++trial) {
    const std::string text = random_text(random, 20'000);
    expect_that_copies_go_on(words(text));
    expect_that_copies_go_on(lines(text));
    expect_that_copies_go_on(fields(text, ';'));
  }
}

TEST(TextRanges, ACopyOfARangeIsARangeOfItsOwn) {
  const std::string text = "one two three";
  const Words range = words(text);
  auto at = range.begin();
  Words copy = range;
  EXPECT_EQ(collect(copy), (Pieces{"one", "two", "three"}));
  copy = words("other");
  EXPECT_EQ(collect(copy), (Pieces{"other"}));
  EXPECT_EQ(*++at, "two");
}

TEST(TextRanges, APostfixIncrementAnswersThePieceBefore) {
  const Lines range = lines("a\nb\nc");
  Lines::Iterator at = range.begin();
  const Lines::Iterator before = at++;
  EXPECT_EQ(*before, "a");
  EXPECT_EQ(*at, "b");
  EXPECT_NE(at, before);
}

TEST(TextRanges, WorkInsideOneAnother) {
  std::string joined;
  for (const std::string_view line : lines("a b,c\n\nd,e f\n")) {
    for (const std::string_view field : fields(line, ',')) {
      for (const std::string_view word : words(field)) {
        joined.append(word).append("+");
      }
      joined += '|';
    }
    joined += '/';
  }
  EXPECT_EQ(joined, "a+b+|c+|/|/d+|e+f+|/");
}

}  // namespace
}  // namespace pinion
