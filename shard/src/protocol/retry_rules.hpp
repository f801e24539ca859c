#pragma once

#include <cstdint>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

namespace pinion::protocol {

/// Whether a unit that failed so may do better in another attempt, by core's error table.
[[nodiscard]] bool may_be_retried(ErrorCode code) noexcept;

/// What a delay depends on, so that a job that is repeated waits alike.
struct RetrySeed {
  std::uint64_t job_seed = 0;
  std::uint64_t step = 0;
  std::uint64_t unit = 0;
};

struct RetryDelays {
  Duration first_max = {};  ///< Most before the second attempt; doubled for each one after it.
  Duration max = {};
};

/// How long a unit waits after its `failure_count`-th failure: anything from nothing to the most,
/// each as likely, so that what failed together is not tried again together.
[[nodiscard]] Duration retry_delay(const RetrySeed& seed, std::uint32_t failure_count,
                                   const RetryDelays& delays) noexcept;

struct FailureCounts {
  std::uint32_t failures = 0;
  std::uint32_t ranks = 0;        ///< Different ones among them.
  bool another_rank_can = false;  ///< Whether there is a rank that has not tried.
};

/// Whether a unit that failed so often is given up. A second rank is to have tried, where there is
/// one; but one that never comes to it does not keep the unit for ever.
[[nodiscard]] bool is_given_up(const FailureCounts& counts,
                               std::uint32_t attempt_count_max) noexcept;

}  // namespace pinion::protocol
