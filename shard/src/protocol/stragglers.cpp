#include "protocol/stragglers.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include <pinion/core/assert.hpp>

namespace pinion::protocol {
namespace {

// A rate is counted by its power of two and the next three bits. A double holds its exponent,
// biased, above the 52 bits of its mantissa, so these are its upper bits as they stand.
constexpr unsigned kMantissaBits = 52;
constexpr unsigned kStepBits = 3;
constexpr std::size_t kStepCount = std::size_t{1} << kStepBits;
constexpr int kExponentBias = 1023;
constexpr int kLeastExponent = -32;
constexpr int kMostExponent = 63;
constexpr std::size_t kBucketCount =
    static_cast<std::size_t>(kMostExponent - kLeastExponent + 1) * kStepCount;

/// What weighs nothing takes some time all the same.
double weight_of(std::uint64_t weight) noexcept {
  return static_cast<double>(std::max<std::uint64_t>(weight, 1));
}

}  // namespace

void DurationProfile::add(Duration duration, std::uint64_t weight) {
  if (counts_.empty()) {
    counts_.resize(kBucketCount);
  }
  const auto nanoseconds = static_cast<double>(std::max<Duration::rep>(duration.count(), 1));
  ++counts_[bucket_of(nanoseconds / weight_of(weight))];
  ++count_;
}

double DurationProfile::third_quartile() const noexcept {
  PINION_ASSERT(count_ > 0);
  std::uint64_t wanted = count_ - count_ / 4;
  std::size_t bucket = 0;
  while (counts_[bucket] < wanted) {
    wanted -= counts_[bucket];
    ++bucket;
  }
  return end_of(bucket);
}

Duration DurationProfile::expected(double rate, std::uint64_t weight) noexcept {
  constexpr double kMost = 9e18;  // Below the greatest number of nanoseconds.
  return Duration(static_cast<Duration::rep>(std::min(rate * weight_of(weight), kMost)));
}

std::size_t DurationProfile::bucket_of(double rate) noexcept {
  const auto upper_bits =
      static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(rate) >> (kMantissaBits - kStepBits));
  constexpr std::int64_t kLeast = std::int64_t{kExponentBias + kLeastExponent} << kStepBits;
  constexpr auto kMost = static_cast<std::int64_t>(kBucketCount) - 1;
  return static_cast<std::size_t>(std::clamp<std::int64_t>(upper_bits - kLeast, 0, kMost));
}

double DurationProfile::end_of(std::size_t bucket) noexcept {
  const int exponent = static_cast<int>(bucket / kStepCount) + kLeastExponent;
  const auto step = static_cast<double>(bucket % kStepCount + 1);
  return std::ldexp(1.0 + step / static_cast<double>(kStepCount), exponent);
}

}  // namespace pinion::protocol
