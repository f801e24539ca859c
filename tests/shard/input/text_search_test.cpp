#include "shard/input/text_trial.hpp"

#include <pinion/shard/text.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace pinion {
namespace {

using testing_input::GuardedText;

std::uint64_t naive_count(std::string_view text, std::string_view pattern) {
  std::uint64_t count = 0;
  for (std::size_t at = text.find(pattern); at != std::string_view::npos;
       at = text.find(pattern, at + pattern.size())) {
    ++count;
  }
  return count;
}

void expect_the_naive_count(std::string_view text, std::string_view pattern) {
  const std::uint64_t expected = naive_count(text, pattern);
  EXPECT_EQ(count_matches(text, pattern), expected)
      << testing::PrintToString(pattern) << " in " << testing::PrintToString(text);
  EXPECT_EQ(contains(text, pattern), expected != 0)
      << testing::PrintToString(pattern) << " in " << testing::PrintToString(text);
}

// Few different bytes, so that patterns match, and nearly match, often.
std::string random_bytes(testing_input::Random& random, std::size_t size, std::uint64_t kinds) {
  constexpr std::string_view kBytes("ab\0\x80", 4);
  std::string bytes(size, ' ');
  for (char& byte : bytes) {
    byte = kBytes[random.below(kinds)];
  }
  return bytes;
}

class SearchOnEachTarget : public testing_input::OnEachTarget {};
INSTANTIATE_TEST_SUITE_P(Target, SearchOnEachTarget,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         testing_input::target_name);

// Reading one byte outside text or pattern would end the test by a signal.
TEST_P(SearchOnEachTarget, CountsAreTheNaiveOnesAndNoByteOutsideIsRead) {
  testing_input::Random random(1);
  for (std::size_t size = 0; size < 300; ++size) {
    const GuardedText text(random_bytes(random, size, 1 + random.below(4)),
                           size % 2 == 0 ? GuardedText::Side::kBegin : GuardedText::Side::kEnd);
    for (const std::size_t longest : {3u, 20u, 100u}) {
      const GuardedText pattern(random_bytes(random, 1 + random.below(longest), 1 + size % 4),
                                GuardedText::Side::kEnd);
      expect_the_naive_count(text.text(), pattern.text());
    }
  }
}

TEST_P(SearchOnEachTarget, PartsOfTheTextAreFound) {
  testing_input::Random random(2);
  for (int trial = 0; trial < 300; ++trial) {
    const std::string text = random_bytes(random, 1 + random.below(3000), 2 + random.below(3));
    const std::size_t begin = random.below(text.size());
    const std::size_t size = 1 + random.below(text.size() - begin);
    EXPECT_TRUE(contains(text, std::string_view(text).substr(begin, size)));
    expect_the_naive_count(text, std::string_view(text).substr(begin, size % 40 + 1));
  }
}

TEST_P(SearchOnEachTarget, MatchesDoNotOverlap) {
  EXPECT_EQ(count_matches("aaaaa", "aa"), 2u);
  EXPECT_EQ(count_matches(std::string(1001, 'a'), "aa"), 500u);
  EXPECT_EQ(count_matches(std::string(1001, 'a'), "a"), 1001u);
  EXPECT_EQ(count_matches(std::string(1000, 'a'), std::string(1000, 'a')), 1u);
  EXPECT_EQ(count_matches(std::string(1000, 'a'), std::string(1001, 'a')), 0u);
}

TEST_P(SearchOnEachTarget, AnEmptyPatternIsEverywhere) {
  EXPECT_EQ(count_matches("", ""), 1u);
  EXPECT_EQ(count_matches("abc", ""), 4u);
  EXPECT_TRUE(contains("", ""));
  EXPECT_FALSE(contains("", "a"));
  EXPECT_EQ(count_matches(std::string_view(), "a"), 0u);
}

// First and last byte fit everywhere, and the byte that does not is met late.
TEST_P(SearchOnEachTarget, TimeIsLinearWhereEverythingNearlyFits) {
  const std::string half(400'000, 'a');
  const std::string pattern = half + 'b' + half;
  const std::string text = std::string(16'000'000, 'a') + pattern + half + pattern;
  EXPECT_EQ(count_matches(text, pattern), 2u);
}

TEST(Search, ReachesBehind4GiB) {
  const testing_input::HugeText huge('a', " needle needle");
  EXPECT_EQ(count_matches(huge.text(), "needle"), 2u);
  EXPECT_FALSE(contains(huge.text(), "nettle"));
}

}  // namespace
}  // namespace pinion
