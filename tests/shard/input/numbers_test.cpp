#include <pinion/shard/numbers.hpp>

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <gtest/gtest.h>

#include "shard/input/text_trial.hpp"

namespace pinion {
namespace {

using testing_input::GuardedText;

template <class Number>
std::optional<Number> by_from_chars(std::string_view text) {
  Number number = {};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && stop == text.data() + text.size();
  return whole ? std::optional(number) : std::nullopt;
}

template <class Integer>
void expect_the_same_integer(std::string_view text) {
  EXPECT_EQ(parse_integer<Integer>(text), by_from_chars<Integer>(text))
      << testing::PrintToString(text) << " as " << sizeof(Integer) << " bytes";
}

void expect_the_same_integers(std::string_view text) {
  expect_the_same_integer<std::int8_t>(text);
  expect_the_same_integer<std::uint8_t>(text);
  expect_the_same_integer<std::int16_t>(text);
  expect_the_same_integer<std::uint16_t>(text);
  expect_the_same_integer<std::int32_t>(text);
  expect_the_same_integer<std::uint32_t>(text);
  expect_the_same_integer<std::int64_t>(text);
  expect_the_same_integer<std::uint64_t>(text);
}

void expect_the_same_decimal(std::string_view text) {
  const std::optional<double> found = parse_decimal(text);
  const std::optional<double> expected = by_from_chars<double>(text);
  ASSERT_EQ(found.has_value(), expected.has_value()) << testing::PrintToString(text);
  if (expected && !std::isnan(*expected)) {
    // Bits, so that the sign of a zero counts.
    EXPECT_EQ(std::bit_cast<std::uint64_t>(*found), std::bit_cast<std::uint64_t>(*expected))
        << testing::PrintToString(text);
  }
}

std::string random_of(testing_input::Random& random, std::string_view bytes, std::size_t size) {
  std::string text(size, ' ');
  for (char& byte : text) {
    byte = bytes[random.below(bytes.size())];
  }
  return text;
}

TEST(ParseInteger, ReadsTheWholeTextOrNone) {
  EXPECT_EQ(parse_integer<int>("42"), 42);
  EXPECT_EQ(parse_integer<int>("-42"), -42);
  EXPECT_EQ(parse_integer<int>("007"), 7);
  for (const std::string_view text :
       {"", "-", "--1", "+1", " 1", "1 ", "1.0", "0x1", "1e3", "4\n"}) {
    EXPECT_EQ(parse_integer<int>(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_integer<unsigned>("-0"), std::nullopt);
  EXPECT_EQ(parse_integer<int>(std::string_view()), std::nullopt);
}

TEST(ParseInteger, KnowsTheLimitsOfEachType) {
  for (const std::string_view text : {"127",
                                      "128",
                                      "-128",
                                      "-129",
                                      "255",
                                      "256",
                                      "32767",
                                      "32768",
                                      "-32768",
                                      "-32769",
                                      "65535",
                                      "65536",
                                      "2147483647",
                                      "2147483648",
                                      "-2147483648",
                                      "-2147483649",
                                      "4294967295",
                                      "4294967296",
                                      "9223372036854775807",
                                      "9223372036854775808",
                                      "-9223372036854775808",
                                      "-9223372036854775809",
                                      "18446744073709551615",
                                      "18446744073709551616",
                                      "99999999999999999999",
                                      "00000000000000000000000001",
                                      "-0"}) {
    expect_the_same_integers(text);
  }
}

TEST(ParseInteger, IsFromCharsForNumbersOfEachLength) {
  testing_input::Random random(1);
  for (int trial = 0; trial < 20'000; ++trial) {
    const std::string digits = random_of(random, "0123456789", 1 + random.below(22));
    expect_the_same_integers((random.below(2) == 0 ? "-" : "") + digits);
  }
}

TEST(ParseInteger, IsFromCharsWhereOneByteIsAnyOther) {
  testing_input::Random random(2);
  for (std::size_t size = 1; size <= 20; ++size) {
    for (std::size_t position = 0; position < size; ++position) {
      std::string text = random_of(random, "0123456789", size);
      for (int byte = 0; byte < 256; ++byte) {
        text[position] = static_cast<char>(byte);
        expect_the_same_integer<std::int64_t>(text);
        expect_the_same_integer<std::uint64_t>(text);
      }
    }
  }
}

TEST(ParseDecimal, IsTheNearestDouble) {
  EXPECT_EQ(parse_decimal("0.1"), 0.1);
  EXPECT_EQ(parse_decimal("-12.5"), -12.5);
  EXPECT_EQ(parse_decimal("1e-3"), 0.001);
  EXPECT_EQ(parse_decimal("inf"), std::numeric_limits<double>::infinity());
  for (const std::string_view text : {"", "-", ".", "-.", "+1", " 1", "1 ", "1,5", "1.2.3", "0x1p3",
                                      "1e400", "1e", "e1", "nul"}) {
    EXPECT_EQ(parse_decimal(text), std::nullopt) << text;
  }
}

TEST(ParseDecimal, IsFromCharsForOddForms) {
  for (const std::string_view text : {"5.",
                                      ".5",
                                      "-.5",
                                      "-5.",
                                      "0",
                                      "-0",
                                      "-0.0",
                                      "00.00",
                                      "1e5",
                                      "1E5",
                                      "1e+5",
                                      "1e-400",
                                      "4.9e-324",
                                      "1.7976931348623157e308",
                                      "nan",
                                      "-nan",
                                      "-inf",
                                      "infinity",
                                      "INF",
                                      "nan(x)",
                                      "9007199254740992",
                                      "9007199254740993",
                                      "9007199254740993.0",
                                      "0.9007199254740993",
                                      "1234567890123456789",
                                      "12345678901234567890",
                                      "0.0000000000000000001",
                                      "0.00000000000000000001",
                                      "0.30000000000000004"}) {
    expect_the_same_decimal(text);
  }
}

TEST(ParseDecimal, IsFromCharsForDigitsAroundAPoint) {
  testing_input::Random random(3);
  for (int trial = 0; trial < 50'000; ++trial) {
    std::string text = random.below(2) == 0 ? "-" : "";
    text += random_of(random, "0123456789", random.below(14));
    if (random.below(4) != 0) {
      text += '.' + random_of(random, "0123456789", random.below(14));
    }
    if (random.below(8) == 0) {
      text += 'e' + std::to_string(random.below(40));
    }
    expect_the_same_decimal(text);
  }
}

TEST(ParseDecimal, IsFromCharsWhereOneByteIsAnyOther) {
  testing_input::Random random(5);
  for (std::size_t size = 1; size <= 18; ++size) {
    for (std::size_t position = 0; position < size; ++position) {
      std::string text = random_of(random, "0123456789", size);
      text[random.below(size)] = '.';
      for (int byte = 0; byte < 256; ++byte) {
        text[position] = static_cast<char>(byte);
        expect_the_same_decimal(text);
      }
    }
  }
}

TEST(ParseDecimal, IsFromCharsForDoublesThatWereWritten) {
  testing_input::Random random(4);
  for (int trial = 0; trial < 50'000; ++trial) {
    std::array<char, 64> buffer = {};
    const auto value = random.below(2) == 0
                           ? std::bit_cast<double>(random.below(~std::uint64_t{0}))
                           : static_cast<double>(random.below(1'000'000'000)) / 1e4;
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    ASSERT_EQ(error, std::errc());
    expect_the_same_decimal({buffer.data(), static_cast<std::size_t>(end - buffer.data())});
  }
}

// Reading one byte outside the text would end the test by a signal.
TEST(ParseNumbers, ReadNoByteOutside) {
  const std::string digits = "123456789012345678901234";
  for (std::size_t size = 0; size <= digits.size(); ++size) {
    for (const auto side : {GuardedText::Side::kBegin, GuardedText::Side::kEnd}) {
      const GuardedText integer(digits.substr(0, size), side);
      expect_the_same_integers(integer.text());
      const GuardedText decimal("." + digits.substr(0, size), side);
      expect_the_same_decimal(decimal.text());
    }
  }
}

}  // namespace
}  // namespace pinion
