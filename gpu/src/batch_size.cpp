#include "batch_size.hpp"

#include <algorithm>
#include <bit>

namespace pinion {
namespace {

// Of a rate that was measured just now; the rest is what it was before.
constexpr double kNewShare = 0.3;

// What a byte of twice as much may take of what it takes now. Where a launch costs a tenth of what
// its bytes cost, twice as much takes that much.
constexpr double kWorthIt = 0.955;

// The most bytes whose number has so many bits.
std::uint64_t largest(std::size_t bits) {
  return bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
}

}  // namespace

std::uint64_t BatchSize::best(std::uint64_t shard_bytes, std::uint64_t most) const {
  auto bits = static_cast<std::size_t>(std::bit_width(shard_bytes));
  while (largest(bits) < most && rates_[bits]) {
    const std::optional<double>& twice = rates_[bits + 1];
    if (twice && *twice > kWorthIt * *rates_[bits]) {
      break;
    }
    ++bits;
  }
  return std::max(shard_bytes, std::min(most, largest(bits)));
}

void BatchSize::measured(std::uint64_t bytes, Duration time) {
  const double rate = static_cast<double>(time.count()) / static_cast<double>(bytes);
  std::optional<double>& known = rates_[static_cast<std::size_t>(std::bit_width(bytes))];
  known = known ? *known + kNewShare * (rate - *known) : rate;
}

}  // namespace pinion
