#include <pinion/shard/numbers.hpp>

#include <array>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <system_error>

namespace pinion {
namespace {

static_assert(std::endian::native == std::endian::little, "eight digits are read as they lie");

constexpr std::uint64_t kZeros = 0x3030303030303030;

// Every number of so many digits fits 64 bits.
constexpr std::size_t kSafeDigits = 19;

template <class Word>
std::uint64_t load(const char* at) noexcept {
  Word word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

// 1 to 8 digits as if zeros stood before them to make eight; no byte outside is read.
std::uint64_t load_digits(const char* at, std::size_t size) noexcept {
  if (size == 8) {
    return load<std::uint64_t>(at);
  }
  const std::size_t missing = 8 * (8 - size);
  std::uint64_t bytes = 0;
  if (size >= 4) {
    bytes = load<std::uint32_t>(at) << missing | load<std::uint32_t>(at + size - 4) << 32;
  } else {
    // First, middle and last; they are the same byte where there are fewer than three.
    bytes = load<std::uint8_t>(at) << missing |
            load<std::uint8_t>(at + size / 2) << (missing + 8 * (size / 2)) |
            load<std::uint8_t>(at + size - 1) << 56;
  }
  return bytes | kZeros >> (8 * size);
}

bool are_digits(std::uint64_t eight) noexcept {
  // The upper half of a digit is 3, also after adding 6, which carries '9' + 1 and more out of it.
  return ((eight & 0xF0F0F0F0F0F0F0F0) |
          ((eight + 0x0606060606060606) & 0xF0F0F0F0F0F0F0F0) >> 4) == 0x3333333333333333;
}

// Pairs of neighbours are joined three times: eight digits, four pairs, two fours, one number.
std::uint64_t value_of(std::uint64_t eight) noexcept {
  eight = (eight & 0x0F0F0F0F0F0F0F0F) * (10 * 256 + 1) >> 8;
  eight = (eight & 0x00FF00FF00FF00FF) * (100 * 65536 + 1) >> 16;
  return (eight & 0x0000FFFF0000FFFF) * (10000 * (std::uint64_t{1} << 32) + 1) >> 32;
}

// Appends 1 to kSafeDigits digits to `value`, which wraps around where that does not fit; false if
// one is no digit.
bool append_digits(const char* at, std::size_t size, std::uint64_t& value) noexcept {
  constexpr std::array<std::uint64_t, 9> kPowers = {
      1, 10, 100, 1000, 10000, 100'000, 1'000'000, 10'000'000, 100'000'000};
  while (size > 0) {
    const std::size_t taken = size % 8 == 0 ? 8 : size % 8;
    const std::uint64_t eight = load_digits(at, taken);
    if (!are_digits(eight)) {
      return false;
    }
    value = value * kPowers[taken] + value_of(eight);
    at += taken;
    size -= taken;
  }
  return true;
}

template <class Number>
std::optional<Number> parse_by_library(std::string_view text) noexcept {
  Number number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end ? std::optional(number) : std::nullopt;
}

// The highest bit of each byte that is a point, and no other bit.
std::uint64_t points_of(std::uint64_t eight) noexcept {
  constexpr std::uint64_t kLowBits = 0x7F7F7F7F7F7F7F7F;
  const std::uint64_t others = eight ^ 0x2E2E2E2E2E2E2E2E;
  return ~(((others & kLowBits) + kLowBits) | others | kLowBits);
}

__extension__ using Sixteen = unsigned __int128;

// The short way of parse_decimal(): none where it is not exact, or the text not of its form. Digits
// and point are read as sixteen characters with zeros before them, then what stands before the
// point moves one to the right, over it: no loop, and no branch on where the point is.
std::optional<double> parse_plain(std::string_view text) noexcept {
  constexpr std::array<double, 16> kPowers = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                              1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  const bool negative = text.starts_with('-');
  text.remove_prefix(negative ? 1 : 0);
  if (text.empty() || text.size() > 16) {
    return std::nullopt;
  }
  const std::size_t head = text.size() > 8 ? text.size() - 8 : 0;
  const std::uint64_t front = head > 0 ? load_digits(text.data(), head) : kZeros;
  const std::uint64_t back = load_digits(text.data() + head, text.size() - head);
  Sixteen characters = Sixteen{back} << 64 | front;
  std::size_t fraction = 0;
  const std::uint64_t front_points = points_of(front);
  const std::uint64_t back_points = points_of(back);
  if ((front_points | back_points) != 0) {
    const int point =
        back_points != 0 ? 64 + std::countr_zero(back_points) : std::countr_zero(front_points);
    const Sixteen up_to_point = ~Sixteen{0} >> (127 - point);
    characters = (characters & ~up_to_point) | (characters << 8 & up_to_point) | '0';
    fraction = static_cast<std::size_t>(127 - point) / 8;
  }
  const auto first_eight = static_cast<std::uint64_t>(characters);
  const auto last_eight = static_cast<std::uint64_t>(characters >> 64);
  const std::uint64_t digits = value_of(first_eight) * 100'000'000 + value_of(last_eight);
  const bool is_point_alone = text == ".";
  if (!are_digits(first_eight) || !are_digits(last_eight) || is_point_alone ||
      digits > std::uint64_t{1} << std::numeric_limits<double>::digits) {
    return std::nullopt;
  }
  // Both are exact, so their quotient is rounded once, to the nearest.
  const double value = static_cast<double>(digits) / kPowers[fraction];
  return negative ? -value : value;
}

}  // namespace

std::optional<std::uint64_t> detail::parse_digits(std::string_view text) noexcept {
  if (text.empty() || text.size() > kSafeDigits) {
    return parse_by_library<std::uint64_t>(text);
  }
  std::uint64_t value = 0;
  if (text.size() < 4) {
    // So few are quicker one by one.
    for (const char byte : text) {
      const auto digit = static_cast<unsigned char>(byte - '0');
      if (digit > 9) {
        return std::nullopt;
      }
      value = value * 10 + digit;
    }
    return value;
  }
  if (text.size() <= 8) {
    const std::uint64_t eight = load_digits(text.data(), text.size());
    return are_digits(eight) ? std::optional(value_of(eight)) : std::nullopt;
  }
  return append_digits(text.data(), text.size(), value) ? std::optional(value) : std::nullopt;
}

std::optional<double> parse_decimal(std::string_view text) noexcept {
  const std::optional<double> value = parse_plain(text);
  return value ? value : parse_by_library<double>(text);
}

}  // namespace pinion
