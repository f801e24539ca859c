#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace pinion {
namespace detail {

/// The number that `text`, digits and nothing else, stands for; none if it does not fit 64 bits.
[[nodiscard]] std::optional<std::uint64_t> parse_digits(std::string_view text) noexcept;

}  // namespace detail

/// The integer that the whole of `text` stands for in base 10, as std::from_chars reads it: a minus
/// only before a signed one, no plus, no white space. None if the text is anything else, or if
/// `Integer` does not hold the number.
///
///   for (std::string_view field : pinion::fields(line, ','))
///     sum += pinion::parse_integer<std::int64_t>(field).value_or(0);
///
/// Eight digits are read at once. Thread safety: any thread. No byte outside the text is read.
template <std::integral Integer>
requires(!std::same_as<Integer, bool>)
    [[nodiscard]] std::optional<Integer> parse_integer(std::string_view text) noexcept {
  static_assert(sizeof(Integer) <= sizeof(std::uint64_t), "at most 64 bits");
  const bool negative = std::signed_integral<Integer> && text.starts_with('-');
  const std::optional<std::uint64_t> digits = detail::parse_digits(text.substr(negative ? 1 : 0));
  // The least number of a signed type is one further from zero than its greatest.
  const auto limit = static_cast<std::uint64_t>(std::numeric_limits<Integer>::max()) + negative;
  if (!digits || *digits > limit) {
    return std::nullopt;
  }
  return static_cast<Integer>(negative ? 0 - *digits : *digits);
}

/// The number that the whole of `text` stands for, as std::from_chars reads it in its general
/// format: "-12.5", "1e-3", "inf", "nan"; always the double that is nearest, whatever the locale.
/// None if the text is anything else, or beyond the range of double.
///
/// Up to 16 digits and a point take a short way when their integer is exact as a double (Clinger,
/// How to Read Floating Point Numbers Accurately, 1990). Thread safety: any thread. No byte outside
/// the text is read.
[[nodiscard]] std::optional<double> parse_decimal(std::string_view text) noexcept;

}  // namespace pinion
