#include "memory_budget.hpp"

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using testing::HasSubstr;

TEST(MemoryBudget, IsWhatWasAskedForOrAShareOfHalfTheMemory) {
  Settings settings;
  settings.memory_bytes = 12345;
  EXPECT_EQ(memory_budget_of(settings, 1), 12345u);
  EXPECT_EQ(memory_budget_of(settings, 8), 12345u);
  settings.memory_bytes = 0;
  const std::uint64_t alone = memory_budget_of(settings, 1);
  EXPECT_EQ(alone, usable_memory_bytes() / 2);
  EXPECT_EQ(memory_budget_of(settings, 4), alone / 4);
}

TEST(MemoryBudget, IsNoMoreThanTheMachineHas) {
  EXPECT_GT(usable_memory_bytes(), std::uint64_t{16} << 20);
  EXPECT_LE(usable_memory_bytes(), static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                                       static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE)));
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
