#include <pinion/core/page_scope.hpp>

#include <thread>

#include <gtest/gtest.h>

namespace pinion {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr Place kPlace = {.kind = PlaceKind::kNuma, .index = 1, .host = 0};

class PageScopeTest : public testing::Test {
 protected:
  [[nodiscard]] std::uint64_t used_by(MemoryUse use) const {
    return ledger_.usage().of(use).used_bytes;
  }

  const MemoryLedger ledger_{{.budget_bytes = 8 * kMiB}};
  PagePool pool_{ledger_, {.spare_bytes_max = 8 * kMiB}};
};

TEST_F(PageScopeTest, GivesPagesOfTheInnermostScope) {
  const PageScope outer({.pool = &pool_, .use = MemoryUse::kInput, .place = kPlace});
  {
    const PageScope inner({.pool = &pool_, .use = MemoryUse::kState, .place = kPlace});
    const Pages pages = PageScope::take(2 * kMiB).value();
    EXPECT_EQ(used_by(MemoryUse::kState), 2 * kMiB);
    EXPECT_EQ(used_by(MemoryUse::kInput), 0u);
  }
  const Pages pages = PageScope::take(2 * kMiB, PageContent::kZeros).value();
  EXPECT_EQ(used_by(MemoryUse::kInput), 2 * kMiB);
  EXPECT_EQ(pool_.usage().reused_count, 1u);
}

TEST_F(PageScopeTest, GivesPagesOfTheSystemOutsideAndOnOtherThreads) {
  EXPECT_EQ(PageScope::take(kMiB)->bytes().size(), kMiB);
  const PageScope scope({.pool = &pool_, .place = kPlace});
  std::thread([&] { EXPECT_EQ(PageScope::take(kMiB)->bytes().size(), kMiB); }).join();
  EXPECT_EQ(pool_.usage().fresh_count, 0u);
  EXPECT_EQ(ledger_.usage().total.peak_bytes, 0u);
}

TEST_F(PageScopeTest, RemembersItsFirstRefusal) {
  const PageScope outer({.pool = &pool_, .place = kPlace});
  {
    const PageScope inner({.pool = &pool_, .place = kPlace});
    EXPECT_TRUE(inner.refusal().ok());
    const Result<Pages> refused = PageScope::take(10 * kMiB);
    ASSERT_FALSE(refused);
    EXPECT_FALSE(PageScope::take(20 * kMiB));
    EXPECT_TRUE(PageScope::take(kMiB));
    EXPECT_EQ(inner.refusal().code(), ErrorCode::kResourceExhausted);
    EXPECT_EQ(inner.refusal().message(), refused.error().message());
  }
  EXPECT_TRUE(outer.refusal().ok());
}

}  // namespace
}  // namespace pinion
