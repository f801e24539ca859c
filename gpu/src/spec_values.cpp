#include "spec_values.hpp"

#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <system_error>

namespace pinion {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::array<Unit, 5> kSizeUnits = {{{"", 1},
                                             {"k", std::uint64_t{1} << 10},
                                             {"m", std::uint64_t{1} << 20},
                                             {"g", std::uint64_t{1} << 30},
                                             {"t", std::uint64_t{1} << 40}}};
constexpr std::array<Unit, 5> kRateUnits = {
    {{"", 1}, {"k", 1'000}, {"m", 1'000'000}, {"g", 1'000'000'000}, {"t", 1'000'000'000'000}}};
constexpr std::array<Unit, 4> kTimeUnits = {
    {{"ns", 1}, {"us", 1'000}, {"ms", 1'000'000}, {"s", 1'000'000'000}}};

// Sums of a few of them stay inside 64 bits, and times inside a Duration.
constexpr std::uint64_t kValueMax = std::uint64_t{1} << 58;

// A number with one of `units` right behind it.
std::optional<std::uint64_t> read(std::string_view text, std::span<const Unit> units) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc()) {
    return std::nullopt;
  }
  const std::string_view suffix = text.substr(static_cast<std::size_t>(rest - text.data()));
  for (const Unit& unit : units) {
    if (suffix == unit.name) {
      return number <= kValueMax / unit.factor ? std::optional(number * unit.factor) : std::nullopt;
    }
  }
  return std::nullopt;
}

Status refuse(std::string_view text, const std::string& expected) {
  return Status(ErrorCode::kInvalidArgument, "'" + std::string(text) + "' is not " + expected);
}

Result<std::uint64_t> read_positive(std::string_view text, std::span<const Unit> units,
                                    const std::string& expected) {
  const std::optional<std::uint64_t> value = read(text, units);
  if (!value || *value == 0) {
    return refuse(text, expected);
  }
  return *value;
}

}  // namespace

Result<std::uint64_t> parse_count(std::string_view text, std::uint64_t least, std::uint64_t most) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end || number < least || number > most) {
    const bool bounded = most != std::numeric_limits<std::uint64_t>::max();
    return refuse(text,
                  bounded ? "a number from " + std::to_string(least) + " to " + std::to_string(most)
                          : "a number of at least " + std::to_string(least));
  }
  return number;
}

Result<std::uint64_t> parse_size(std::string_view text) {
  return read_positive(text, kSizeUnits, "a size of at least 1 byte, such as 2g or 512m");
}

Result<std::uint64_t> parse_rate(std::string_view text) {
  return read_positive(text, kRateUnits, "a rate of at least 1 byte a second, such as 25g");
}

Result<Duration> parse_time(std::string_view text) {
  const std::optional<std::uint64_t> value = read(text, kTimeUnits);
  if (!value) {
    return refuse(text, "a time, such as 20us or 3s");
  }
  return Duration(static_cast<Duration::rep>(*value));
}

Result<double> parse_factor(std::string_view text) {
  constexpr double kFactorMax = 1e6;
  double factor = 0.0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, factor);
  // Written so that a NaN is refused too.
  const bool fits = error == std::errc() && factor > 0.0 && factor <= kFactorMax;
  if (!fits || std::string_view(rest, static_cast<std::size_t>(end - rest)) != "x") {
    return refuse(text, "a factor above 0 and up to a million, such as 1.5x");
  }
  return factor;
}

}  // namespace pinion
