#include <pinion/core/bytes.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

namespace pinion {
namespace {

struct Unit {
  const char* name;
  std::uint64_t size;
};

constexpr std::array<Unit, 6> kByteUnits = {{{"KiB", 1ull << 10},
                                             {"MiB", 1ull << 20},
                                             {"GiB", 1ull << 30},
                                             {"TiB", 1ull << 40},
                                             {"PiB", 1ull << 50},
                                             {"EiB", 1ull << 60}}};
constexpr std::array<Unit, 3> kTimeUnits = {
    {{"us", 1'000}, {"ms", 1'000'000}, {"s", 1'000'000'000}}};

// `amount` in hundredths of `unit`, half up.
std::uint64_t to_hundredths(std::uint64_t amount, std::uint64_t unit) {
  const int shift = unit > (1ull << 50) ? 10 : 0;  // Times 100 must fit 64 bits.
  const std::uint64_t rest = (amount % unit) >> shift;
  const std::uint64_t whole = unit >> shift;
  return amount / unit * 100 + (rest * 100 + whole / 2) / whole;
}

std::string to_decimal(std::uint64_t hundredths, const char* unit) {
  const std::uint64_t rest = hundredths % 100;
  return std::to_string(hundredths / 100) + (rest < 10 ? ".0" : ".") + std::to_string(rest) + " " +
         unit;
}

// In the largest unit that the amount reaches, also by rounding.
std::string in_best_unit(std::uint64_t amount, std::span<const Unit> units) {
  std::size_t best = 0;
  while (best + 1 < units.size() && to_hundredths(amount, units[best].size) >=
                                        100 * (units[best + 1].size / units[best].size)) {
    ++best;
  }
  return to_decimal(to_hundredths(amount, units[best].size), units[best].name);
}

}  // namespace

std::string format_bytes(std::uint64_t bytes) {
  return bytes < 1_KiB ? std::to_string(bytes) + " B" : in_best_unit(bytes, kByteUnits);
}

std::string format_duration(Duration duration) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  constexpr std::uint64_t kMinute = 60;
  const bool negative = duration.count() < 0;
  const auto count = static_cast<std::uint64_t>(duration.count());
  const std::uint64_t amount = negative ? 0 - count : count;
  std::string text;
  if (amount < 1'000) {
    text = std::to_string(amount) + " ns";
  } else if (to_hundredths(amount, kSecond) < 6000) {
    text = in_best_unit(amount, kTimeUnits);
  } else if (const std::uint64_t seconds = std::max(amount / kSecond, kMinute); seconds < 3600) {
    text = std::to_string(seconds / 60) + " min " + std::to_string(seconds % 60) + " s";
  } else {
    text = std::to_string(seconds / 3600) + " h " + std::to_string(seconds / 60 % 60) + " min";
  }
  return negative ? "-" + text : text;
}

}  // namespace pinion
