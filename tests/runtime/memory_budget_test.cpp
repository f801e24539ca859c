#include "memory_budget.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/numa/memory_limits.hpp>

namespace pinion {
namespace {

using testing::HasSubstr;

TEST(MemoryBudget, IsWhatWasAskedForOrAShareOfHalfTheMemory) {
  Settings settings;
  settings.memory_bytes = 12345;
  EXPECT_EQ(memory_budget_of(settings, 1).value(), 12345u);
  EXPECT_EQ(memory_budget_of(settings, 8).value(), 12345u);
  settings.memory_bytes = 0;
  const std::uint64_t alone = memory_budget_of(settings, 1).value();
  EXPECT_EQ(alone, memory_limits().value().limit.bytes / 2);
  EXPECT_EQ(memory_budget_of(settings, 4).value(), alone / 4);
}

TEST(MemoryBudget, RefusesWhatIsTooSmallToRunAndSaysWhatDoes) {
  const std::uint64_t least = (16u << 20) + 3 * (8u << 20);
  const Result<MemoryLedger> refused = make_ledger(least - 1, 3);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.error().message()), HasSubstr(std::to_string(least)));
  EXPECT_THAT(std::string(refused.error().message()), HasSubstr("memory-bytes"));
  const Result<MemoryLedger> ledger = make_ledger(least, 3);
  ASSERT_TRUE(ledger.has_value());
  EXPECT_EQ(ledger->budget_bytes(), least);
}

TEST(MemoryBudget, LeavesAQuarterToEverythingButBlobs) {
  const MemoryLedger ledger = make_ledger(std::uint64_t{100} << 20, 1).value();
  EXPECT_TRUE(ledger.take(MemoryUse::kBlobs, std::uint64_t{75} << 20).has_value());
  EXPECT_FALSE(ledger.take(MemoryUse::kBlobs, std::uint64_t{76} << 20).has_value());
  EXPECT_TRUE(ledger.take(MemoryUse::kState, std::uint64_t{100} << 20).has_value());
}

}  // namespace
}  // namespace pinion
