#include "protocol/retry_rules.hpp"

#include <algorithm>

namespace pinion::protocol {
namespace {

/// Spreads the bits of a number (the finalizer of splitmix64).
std::uint64_t mix(std::uint64_t value) noexcept {
  value += 0x9e3779b97f4a7c15U;
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31U);
}

}  // namespace

bool may_be_retried(ErrorCode code) noexcept {
  return error_info(code).retryable;
}

Duration retry_delay(const RetrySeed& seed, std::uint32_t failure_count,
                     const RetryDelays& delays) noexcept {
  Duration most = std::min(delays.first_max, delays.max);
  for (std::uint32_t doubled = 1; doubled < failure_count && most < delays.max; ++doubled) {
    most = most > delays.max / 2 ? delays.max : most * 2;
  }
  if (most <= Duration::zero()) {
    return {};
  }
  const std::uint64_t drawn =
      mix(mix(mix(mix(seed.job_seed) ^ seed.step) ^ seed.unit) ^ failure_count);
  return Duration(
      static_cast<std::int64_t>(drawn % (static_cast<std::uint64_t>(most.count()) + 1)));
}

bool is_given_up(const FailureCounts& counts, std::uint32_t attempt_count_max) noexcept {
  if (counts.failures < attempt_count_max) {
    return false;
  }
  return counts.ranks >= 2 || !counts.another_rank_can || counts.failures >= 2 * attempt_count_max;
}

}  // namespace pinion::protocol
