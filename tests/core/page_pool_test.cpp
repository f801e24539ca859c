#include <pinion/core/page_pool.hpp>

#include <algorithm>
#include <cstring>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr Place kPlace = {.kind = PlaceKind::kNuma, .index = 0, .host = 0};
constexpr Place kOtherPlace = {.kind = PlaceKind::kNuma, .index = 1, .host = 0};

MemoryLedger make_ledger(std::uint64_t budget_bytes = 64 * kMiB) {
  return MemoryLedger({.budget_bytes = budget_bytes});
}

TEST(PageClass, HasFourSizesADoublingInWholeUnits) {
  EXPECT_EQ(page_class_bytes(0), 4 * kKiB);
  EXPECT_EQ(page_class_bytes(1), 4 * kKiB);
  EXPECT_EQ(page_class_bytes(4 * kKiB + 1), 8 * kKiB);
  EXPECT_EQ(page_class_bytes(33 * kKiB), 40 * kKiB);
  EXPECT_EQ(page_class_bytes(2 * kMiB - 1), 2 * kMiB);
  EXPECT_EQ(page_class_bytes(2 * kMiB), 2 * kMiB);
  EXPECT_EQ(page_class_bytes(2 * kMiB + 1), 4 * kMiB);
  EXPECT_EQ(page_class_bytes(17 * kMiB), 20 * kMiB);
  EXPECT_EQ(page_class_bytes(std::uint64_t{1} << 62), std::uint64_t{1} << 62);
}

TEST(PageClass, IsEnoughAndLessThanAFifthTooMuch) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t size = (random() >> (2 + random() % 60)) + 1;
    const std::uint64_t found = page_class_bytes(size);
    const std::uint64_t unit = size < 2 * kMiB ? 4 * kKiB : 2 * kMiB;
    ASSERT_GE(found, size);
    ASSERT_EQ(found % unit, 0u);
    ASSERT_LE(found - size, found / 5 + unit) << size;
    ASSERT_EQ(page_class_bytes(found), found) << size;
  }
}

TEST(PagePool, GivesAlignedWritableMemoryThatIsCharged) {
  const MemoryLedger ledger = make_ledger();
  PagePool pool(ledger, {});
  for (const std::uint64_t size : {std::uint64_t{1}, 100 * kKiB, 2 * kMiB, 5 * kMiB + 1}) {
    Result<Pages> pages = pool.take(MemoryUse::kState, size, kPlace);
    ASSERT_TRUE(pages.has_value()) << pages.error().to_string();
    EXPECT_EQ(pages->bytes().size(), page_class_bytes(size));
    const std::uint64_t alignment = size < 2 * kMiB ? 4 * kKiB : 2 * kMiB;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pages->bytes().data()) % alignment, 0u);
    EXPECT_EQ(ledger.usage().of(MemoryUse::kState).used_bytes, page_class_bytes(size));
    std::memset(pages->bytes().data(), 0xab, pages->bytes().size());
  }
  EXPECT_EQ(ledger.usage().total.used_bytes, 0u);
  EXPECT_EQ(pool.usage().fresh_count, 4u);
}

TEST(PagePool, GivesTheSamePagesAgainForTheSameClassAndPlace) {
  const MemoryLedger ledger = make_ledger();
  PagePool pool(ledger, {.spare_bytes_max = 16 * kMiB});
  const std::byte* first = nullptr;
  {
    const Pages pages = pool.take(MemoryUse::kState, 4 * kMiB, kPlace).value();
    first = pages.bytes().data();
  }
  EXPECT_EQ(ledger.usage().of(MemoryUse::kState).used_bytes, 0u);
  EXPECT_EQ(ledger.usage().of(MemoryUse::kSpare).used_bytes, 4 * kMiB);
  EXPECT_EQ(pool.usage().spare_bytes, 4 * kMiB);
  const Pages elsewhere = pool.take(MemoryUse::kInput, 4 * kMiB, kOtherPlace).value();
  const Pages larger = pool.take(MemoryUse::kInput, 6 * kMiB, kPlace).value();
  EXPECT_EQ(pool.usage().reused_count, 0u);
  const Pages again = pool.take(MemoryUse::kInput, 3 * kMiB, kPlace).value();
  EXPECT_EQ(again.bytes().data(), first);
  EXPECT_EQ(pool.usage().reused_count, 1u);
  EXPECT_EQ(pool.usage().spare_bytes, 0u);
  EXPECT_EQ(ledger.usage().of(MemoryUse::kSpare).used_bytes, 0u);
  EXPECT_EQ(ledger.usage().of(MemoryUse::kInput).used_bytes, 14 * kMiB);
}

TEST(PagePool, GivesZerosWhenAskedAlsoInPagesThatWereUsed) {
  const MemoryLedger ledger = make_ledger();
  PagePool pool(ledger, {.spare_bytes_max = 16 * kMiB});
  for (int round = 0; round < 2; ++round) {
    const Pages pages =
        pool.take(MemoryUse::kState, 100 * kKiB, kPlace, PageContent::kZeros).value();
    EXPECT_TRUE(std::ranges::all_of(pages.bytes(), [](std::byte b) { return b == std::byte{0}; }));
    std::ranges::fill(pages.bytes(), std::byte{0xff});
  }
  EXPECT_EQ(pool.usage().reused_count, 1u);
}

TEST(PagePool, KeepsTheMostRecentUpToItsLimit) {
  const MemoryLedger ledger = make_ledger();
  PagePool pool(ledger, {.spare_bytes_max = 8 * kMiB});
  { const Pages old = pool.take(MemoryUse::kState, 6 * kMiB, kPlace).value(); }
  { const Pages recent = pool.take(MemoryUse::kState, 4 * kMiB, kPlace).value(); }
  EXPECT_EQ(pool.usage().spare_bytes, 4 * kMiB);
  { const Pages too_large = pool.take(MemoryUse::kState, 10 * kMiB, kPlace).value(); }
  EXPECT_LE(pool.usage().spare_bytes, 8 * kMiB);
  EXPECT_EQ(ledger.usage().total.used_bytes, pool.usage().spare_bytes);
}

TEST(PagePool, GivesUpSparePagesBeforeTheLedgerRefuses) {
  const MemoryLedger ledger = make_ledger(10 * kMiB);
  PagePool pool(ledger, {.spare_bytes_max = 10 * kMiB});
  {
    const Pages first = pool.take(MemoryUse::kState, 4 * kMiB, kPlace).value();
    const Pages second = pool.take(MemoryUse::kState, 4 * kMiB, kPlace).value();
  }
  EXPECT_EQ(ledger.usage().of(MemoryUse::kSpare).used_bytes, 8 * kMiB);
  const Result<MemoryShare> blobs = ledger.take(MemoryUse::kBlobs, 6 * kMiB);
  EXPECT_TRUE(blobs.has_value());
  EXPECT_EQ(pool.usage().spare_bytes, 4 * kMiB);
  const Result<Pages> fresh = pool.take(MemoryUse::kState, 2 * kMiB, kPlace);
  EXPECT_TRUE(fresh.has_value());
  const Result<Pages> refused = pool.take(MemoryUse::kState, 8 * kMiB, kPlace);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
}

TEST(PagePool, LeavesSparePagesWhereBlobsMayHaveNoMore) {
  const MemoryLedger ledger({.budget_bytes = 10 * kMiB, .blob_bytes_max = kMiB});
  PagePool pool(ledger, {.spare_bytes_max = 10 * kMiB});
  { const Pages spare = pool.take(MemoryUse::kState, 4 * kMiB, kPlace).value(); }
  EXPECT_FALSE(pool.take(MemoryUse::kBlobs, 4 * kMiB, kPlace).has_value());
  EXPECT_EQ(pool.usage().spare_bytes, 4 * kMiB);
  EXPECT_EQ(ledger.usage().total.used_bytes, 4 * kMiB);
}

TEST(PagePool, BindsFreshPagesOnceAndReportsWhatFails) {
  const MemoryLedger ledger = make_ledger();
  Status answer;
  std::vector<std::pair<std::size_t, Place>> calls;
  PagePool pool(ledger, {.spare_bytes_max = 8 * kMiB,
                         .bind_memory = [&](std::span<std::byte> bytes, Place place) {
                           calls.emplace_back(bytes.size(), place);
                           return answer;
                         }});
  for (int round = 0; round < 2; ++round) {
    const Pages pages = pool.take(MemoryUse::kState, 2 * kMiB, kOtherPlace).value();
  }
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0], std::pair(std::size_t{2} << 20, kOtherPlace));
  answer = Status(ErrorCode::kInvalidArgument, "no such place");
  EXPECT_EQ(pool.take(MemoryUse::kState, kMiB, kPlace).error().message(), "no such place");
  EXPECT_EQ(ledger.usage().of(MemoryUse::kState).used_bytes, 0u);
}

TEST(PagePool, RefusesMoreThanCanBeMapped) {
  const MemoryLedger ledger = make_ledger(~std::uint64_t{0});
  PagePool pool(ledger, {});
  for (const std::uint64_t size : {~std::uint64_t{0}, std::uint64_t{1} << 47}) {
    const Result<Pages> refused = pool.take(MemoryUse::kState, size, kPlace);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  }
  EXPECT_EQ(ledger.usage().total.used_bytes, 0u);
}

TEST(PagePool, LetsItsPagesOutliveIt) {
  const MemoryLedger ledger = make_ledger();
  std::optional<PagePool> pool(std::in_place, ledger, PagePoolOptions{.spare_bytes_max = 8 * kMiB});
  {
    Pages held = pool->take(MemoryUse::kState, kMiB, kPlace).value();
    { const Pages spare = pool->take(MemoryUse::kState, 2 * kMiB, kPlace).value(); }
    pool.reset();
    EXPECT_EQ(ledger.usage().total.used_bytes, kMiB);
    std::memset(held.bytes().data(), 1, held.bytes().size());
    const Pages moved = std::move(held);
  }
  EXPECT_EQ(ledger.usage().total.used_bytes, 0u);
}

TEST(Pages, GrowWithWhatIsInThemAndComeBackByTheirNewSize) {
  const MemoryLedger ledger = make_ledger();
  PagePool pool(ledger, {.spare_bytes_max = 64 * kMiB});
  const std::byte* last = nullptr;
  {
    Pages pages = pool.take(MemoryUse::kInput, 8 * kKiB, kPlace).value();
    for (const std::uint64_t size : {64 * kKiB, 3 * kMiB, 9 * kMiB}) {
      const std::size_t old_size = pages.bytes().size();
      std::memset(pages.bytes().data(), 0x5a, old_size);
      ASSERT_TRUE(pages.grow(size).ok());
      ASSERT_EQ(pages.bytes().size(), page_class_bytes(size));
      EXPECT_TRUE(std::ranges::all_of(pages.bytes().first(old_size),
                                      [](std::byte byte) { return byte == std::byte{0x5a}; }));
      EXPECT_EQ(pages.bytes().back(), std::byte{0});
      const std::uint64_t alignment = size < 2 * kMiB ? 4 * kKiB : 2 * kMiB;
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pages.bytes().data()) % alignment, 0u);
      EXPECT_EQ(ledger.usage().of(MemoryUse::kInput).used_bytes, page_class_bytes(size));
    }
    EXPECT_TRUE(pages.grow(kMiB).ok());  // There is more already.
    last = pages.bytes().data();
  }
  EXPECT_EQ(pool.usage().spare_bytes, page_class_bytes(9 * kMiB));
  EXPECT_EQ(pool.take(MemoryUse::kState, 9 * kMiB, kPlace)->bytes().data(), last);
}

TEST(Pages, StayAsTheyAreWhereTheyMayNotGrow) {
  const MemoryLedger ledger = make_ledger(8 * kMiB);
  PagePool pool(ledger, {});
  Pages pages = pool.take(MemoryUse::kInput, 4 * kMiB, kPlace).value();
  pages.bytes()[0] = std::byte{7};
  for (const std::uint64_t size : {10 * kMiB, ~std::uint64_t{0}}) {
    EXPECT_EQ(pages.grow(size).code(), ErrorCode::kResourceExhausted);
    EXPECT_EQ(pages.bytes().size(), 4 * kMiB);
    EXPECT_EQ(pages.bytes()[0], std::byte{7});
    EXPECT_EQ(ledger.usage().of(MemoryUse::kInput).used_bytes, 4 * kMiB);
  }
}

TEST(Pages, OfNoPoolAreZeroedAndGrowToo) {
  Pages pages = Pages::map(5 * kKiB).value();
  EXPECT_EQ(pages.bytes().size(), 8 * kKiB);
  EXPECT_EQ(pages.bytes().back(), std::byte{0});
  pages.bytes()[0] = std::byte{7};
  ASSERT_TRUE(pages.grow(2 * kMiB).ok());
  EXPECT_EQ(pages.bytes()[0], std::byte{7});
  EXPECT_EQ(Pages::map(~std::uint64_t{0}).error().code(), ErrorCode::kResourceExhausted);
}

TEST(PagePool, NeverGivesTheSamePagesToTwoThreads) {
  const MemoryLedger ledger = make_ledger(40 * kMiB);
  PagePool pool(ledger, {.spare_bytes_max = 8 * kMiB});
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(thread);
      std::vector<Pages> held(3);
      const auto is_mine = [&](std::byte byte) { return byte == std::byte(thread + 1); };
      for (int i = 0; i < 2000; ++i) {
        Pages& pages = held[random() % held.size()];
        if (!pages.bytes().empty()) {
          EXPECT_TRUE(std::ranges::all_of(pages.bytes().first(64), is_mine));
        }
        const std::uint64_t size = random() % 64 == 0 ? 2 * kMiB : random() % (64 * kKiB);
        Result<Pages> taken = pool.take(MemoryUse::kState, size, kPlace);
        pages = taken ? *std::move(taken) : Pages();
        std::ranges::fill(pages.bytes().first(std::min<std::size_t>(64, pages.bytes().size())),
                          std::byte(thread + 1));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(ledger.usage().of(MemoryUse::kState).used_bytes, 0u);
  EXPECT_EQ(ledger.usage().total.used_bytes, pool.usage().spare_bytes);
  EXPECT_LE(pool.usage().spare_bytes, 8 * kMiB);
}

}  // namespace
}  // namespace pinion
