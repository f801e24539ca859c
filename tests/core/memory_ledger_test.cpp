#include <pinion/core/memory_ledger.hpp>

#include <optional>
#include <random>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using testing::HasSubstr;

MemoryLedger make(std::uint64_t budget_bytes) {
  return MemoryLedger({.budget_bytes = budget_bytes, .advice = "raise the-setting"});
}

TEST(MemoryLedger, CountsWhatIsTakenAndGivenBack) {
  const MemoryLedger ledger = make(1000);
  {
    const Result<MemoryShare> input = ledger.take(MemoryUse::kInput, 300);
    const Result<MemoryShare> state = ledger.take(MemoryUse::kState, 700);
    ASSERT_TRUE(input.has_value() && state.has_value());
    EXPECT_EQ(ledger.usage().of(MemoryUse::kInput).used_bytes, 300u);
    EXPECT_EQ(ledger.usage().of(MemoryUse::kState).used_bytes, 700u);
    EXPECT_EQ(ledger.usage().total.used_bytes, 1000u);
  }
  const MemoryUsage after = ledger.usage();
  EXPECT_EQ(after.budget_bytes, 1000u);
  EXPECT_EQ(after.total.used_bytes, 0u);
  EXPECT_EQ(after.total.peak_bytes, 1000u);
  EXPECT_EQ(after.of(MemoryUse::kInput).peak_bytes, 300u);
  EXPECT_EQ(after.of(MemoryUse::kBlobs).peak_bytes, 0u);
}

TEST(MemoryLedger, RefusesWithWhoUsesWhatAndWhatToDo) {
  const MemoryLedger ledger = make(1000);
  const Result<MemoryShare> input = ledger.take(MemoryUse::kInput, 123);
  const Result<MemoryShare> staging = ledger.take(MemoryUse::kStaging, 456);
  const Result<MemoryShare> refused = ledger.take(MemoryUse::kState, 789);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  for (const char* part : {"789 bytes for state", "budget of 1000", "input uses 123",
                           "staging uses 456", "raise the-setting"}) {
    EXPECT_THAT(std::string(refused.error().message()), HasSubstr(part));
  }
  EXPECT_EQ(ledger.usage().total.used_bytes, 579u);
  EXPECT_EQ(ledger.usage().of(MemoryUse::kState).peak_bytes, 0u);
}

TEST(MemoryLedger, RefusesAmountsThatOverflow) {
  const MemoryLedger ledger = make(1000);
  const Result<MemoryShare> some = ledger.take(MemoryUse::kInput, 10);
  for (const std::uint64_t huge : {~std::uint64_t{0}, ~std::uint64_t{0} - 5, std::uint64_t{1001}}) {
    EXPECT_FALSE(ledger.take(MemoryUse::kInput, huge).has_value());
    EXPECT_FALSE(ledger.take(MemoryUse::kBlobs, huge).has_value());
  }
  EXPECT_EQ(ledger.usage().total.used_bytes, 10u);
}

TEST(MemoryLedger, GivesBlobsNoMoreThanTheirLimit) {
  const MemoryLedger ledger({.budget_bytes = 1000, .blob_bytes_max = 600});
  Result<MemoryShare> blobs = ledger.take(MemoryUse::kBlobs, 600);
  ASSERT_TRUE(blobs.has_value());
  const Result<MemoryShare> refused = ledger.take(MemoryUse::kBlobs, 1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(std::string(refused.error().message()), HasSubstr("blobs may use 600"));
  Result<MemoryShare> state = ledger.take(MemoryUse::kState, 400);
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->assign(MemoryUse::kBlobs).code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(state->use(), MemoryUse::kState);
  EXPECT_TRUE(blobs->assign(MemoryUse::kInput).ok());
  EXPECT_TRUE(state->assign(MemoryUse::kBlobs).ok());
  EXPECT_EQ(ledger.usage().of(MemoryUse::kInput).used_bytes, 600u);
  EXPECT_EQ(ledger.usage().of(MemoryUse::kBlobs).used_bytes, 400u);
}

TEST(MemoryLedger, ResizesAShareOrLeavesItAsItWas) {
  const MemoryLedger ledger = make(1000);
  Result<MemoryShare> share = ledger.take(MemoryUse::kState, 100);
  ASSERT_TRUE(share.has_value());
  EXPECT_TRUE(share->resize(900).ok());
  EXPECT_EQ(share->resize(1001).code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(share->bytes(), 900u);
  EXPECT_EQ(ledger.usage().total.used_bytes, 900u);
  EXPECT_TRUE(share->resize(0).ok());
  EXPECT_EQ(ledger.usage().total.used_bytes, 0u);
  EXPECT_TRUE(share->resize(1000).ok());
}

TEST(MemoryLedger, MovesSharesAndOutlivesItself) {
  std::optional<MemoryLedger> ledger = make(1000);
  const MemoryLedger copy = *ledger;
  MemoryShare first = ledger->take(MemoryUse::kState, 100).value();
  MemoryShare second = ledger->take(MemoryUse::kInput, 50).value();
  second = std::move(first);
  EXPECT_EQ(copy.usage().total.used_bytes, 100u);
  EXPECT_EQ(second.use(), MemoryUse::kState);
  MemoryShare third(std::move(second));
  ledger.reset();
  EXPECT_EQ(copy.usage().total.used_bytes, 100u);
  third = MemoryShare();
  EXPECT_EQ(copy.usage().total.used_bytes, 0u);
}

TEST(MemoryLedger, AsksTheReclaimerBeforeItRefuses) {
  const MemoryLedger ledger = make(1000);
  std::vector<MemoryShare> spare;
  for (int i = 0; i < 10; ++i) {
    spare.push_back(ledger.take(MemoryUse::kSpare, 90).value());
  }
  std::vector<std::uint64_t> asked;
  ledger.set_reclaimer([&](std::uint64_t missing_bytes) -> std::uint64_t {
    asked.push_back(missing_bytes);
    if (spare.empty()) {
      return 0;
    }
    spare.pop_back();
    return 90;
  });
  const Result<MemoryShare> fits = ledger.take(MemoryUse::kState, 100);
  EXPECT_TRUE(fits.has_value());
  EXPECT_TRUE(asked.empty());
  const Result<MemoryShare> after_two = ledger.take(MemoryUse::kState, 150);
  EXPECT_TRUE(after_two.has_value());
  EXPECT_EQ(asked, (std::vector<std::uint64_t>{150, 60}));
  EXPECT_FALSE(ledger.take(MemoryUse::kState, 800).has_value());
  EXPECT_TRUE(spare.empty());
  asked.clear();
  EXPECT_FALSE(ledger.take(MemoryUse::kState, 1001).has_value());
  EXPECT_TRUE(asked.empty()) << "nothing that is given up could help";
  ledger.set_reclaimer({});
}

TEST(MemoryLedger, NeverExceedsItsBudgetInSeveralThreads) {
  constexpr std::uint64_t kBudget = 1000;
  const MemoryLedger ledger({.budget_bytes = kBudget, .blob_bytes_max = 400});
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(thread);
      std::vector<MemoryShare> held(8);
      for (int i = 0; i < 20000; ++i) {
        MemoryShare& share = held[random() % held.size()];
        const auto use = static_cast<MemoryUse>(random() % kMemoryUseCount);
        Result<MemoryShare> taken = ledger.take(use, random() % 300);
        share = taken ? *std::move(taken) : MemoryShare();
        if (random() % 4 == 0 && !share.resize(share.bytes() / 2).ok()) {
          ADD_FAILURE() << "a share could not become smaller";
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const MemoryUsage usage = ledger.usage();
  EXPECT_EQ(usage.total.used_bytes, 0u);
  EXPECT_LE(usage.total.peak_bytes, kBudget);
  EXPECT_GT(usage.total.peak_bytes, 700u);
  EXPECT_LE(usage.of(MemoryUse::kBlobs).peak_bytes, 400u);
  for (const MemoryAmount& amount : usage.uses) {
    EXPECT_EQ(amount.used_bytes, 0u);
  }
}

TEST(MemoryUse, HasANameForEach) {
  EXPECT_EQ(to_string(MemoryUse::kInput), "input");
  EXPECT_EQ(to_string(MemoryUse::kSpare), "spare");
}

}  // namespace
}  // namespace pinion
