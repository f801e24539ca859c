#include "protocol/retry_rules.hpp"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

namespace pinion::protocol {
namespace {

using namespace std::chrono_literals;

TEST(RetryRules, RetryWhatTheErrorTableCallsRetryable) {
  EXPECT_TRUE(may_be_retried(ErrorCode::kUnknown));
  EXPECT_TRUE(may_be_retried(ErrorCode::kUnavailable));
  EXPECT_TRUE(may_be_retried(ErrorCode::kResourceExhausted));
  EXPECT_FALSE(may_be_retried(ErrorCode::kNotFound));
  EXPECT_FALSE(may_be_retried(ErrorCode::kInvalidArgument));
  EXPECT_FALSE(may_be_retried(ErrorCode::kDataLoss));
}

TEST(RetryRules, DelayAnythingUpToTwiceAsMuchAfterEachFailure) {
  const RetryDelays delays{.first_max = 100ms, .max = 1s};
  Duration most = 100ms;
  for (const std::uint32_t failures : {1U, 2U, 3U, 4U, 5U, 60U}) {
    Duration least_seen = 1h;
    Duration most_seen = 0s;
    for (std::uint64_t unit = 0; unit < 1000; ++unit) {
      const Duration delay =
          retry_delay({.job_seed = 7, .step = 1, .unit = unit}, failures, delays);
      least_seen = std::min(least_seen, delay);
      most_seen = std::max(most_seen, delay);
    }
    EXPECT_GE(least_seen, 0s);
    EXPECT_LT(least_seen, most / 20);
    EXPECT_LE(most_seen, most);
    EXPECT_GT(most_seen, most / 20 * 19);
    most = std::min<Duration>(most * 2, 1s);
  }
}

TEST(RetryRules, DelayAlikeForTheSameSeedAndOtherwiseForAnother) {
  const RetryDelays delays{.first_max = 1s, .max = 1h};
  std::set<Duration> seen;
  for (const RetrySeed& seed : {RetrySeed{.job_seed = 1, .step = 1, .unit = 1},
                                RetrySeed{.job_seed = 2, .step = 1, .unit = 1},
                                RetrySeed{.job_seed = 1, .step = 2, .unit = 1},
                                RetrySeed{.job_seed = 1, .step = 1, .unit = 2}}) {
    EXPECT_EQ(retry_delay(seed, 1, delays), retry_delay(seed, 1, delays));
    seen.insert(retry_delay(seed, 1, delays));
  }
  EXPECT_EQ(seen.size(), 4U);
}

TEST(RetryRules, DelayNothingWhereNothingIsTheMost) {
  EXPECT_EQ(retry_delay({}, 3, {.first_max = 0s, .max = 1s}), 0s);
  EXPECT_EQ(retry_delay({}, 3, {.first_max = 1s, .max = 0s}), 0s);
}

TEST(RetryRules, GiveUpWhenASecondRankHasTriedToo) {
  EXPECT_FALSE(is_given_up({.failures = 3, .ranks = 2, .another_rank_can = true}, 4));
  EXPECT_TRUE(is_given_up({.failures = 4, .ranks = 2, .another_rank_can = true}, 4));
  EXPECT_FALSE(is_given_up({.failures = 4, .ranks = 1, .another_rank_can = true}, 4));
  EXPECT_TRUE(is_given_up({.failures = 4, .ranks = 1, .another_rank_can = false}, 4));
}

TEST(RetryRules, GiveUpAtTwiceTheAttemptsWhoeverTried) {
  EXPECT_FALSE(is_given_up({.failures = 7, .ranks = 1, .another_rank_can = true}, 4));
  EXPECT_TRUE(is_given_up({.failures = 8, .ranks = 1, .another_rank_can = true}, 4));
}

}  // namespace
}  // namespace pinion::protocol
