#include <pinion/gpu/staging_pool.hpp>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/gpu/emulated_devices.hpp>

namespace pinion {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kPoolBytes = 64 << 10;

class StagingPools : public ::testing::Test {
 protected:
  void open(const std::string& settings = "") {
    pool_.reset();
    devices_ = EmulatedDevices::create(
                   parse_emulation_spec("emu:1,mem=1m,pinned=1m" + settings).value(), kernels_)
                   .value();
    pool_ = StagingPool::create(device(), pages_, {}, kPoolBytes).value();
  }
  IDevice& device() { return *devices_->devices()[0]; }

  MemoryLedger ledger_{{.budget_bytes = std::uint64_t{1} << 20}};
  PagePool pages_{ledger_, {}};
  KernelRegistry kernels_;
  std::unique_ptr<EmulatedDevices> devices_;
  std::unique_ptr<StagingPool> pool_;
};

TEST_F(StagingPools, AreRegisteredOnceAndChargedAsStaging) {
  open();
  EXPECT_TRUE(pool_->registration().ok());
  EXPECT_EQ(device().usage().registered_bytes, pool_->usage().size_bytes);
  EXPECT_EQ(ledger_.usage().of(MemoryUse::kStaging).used_bytes, pool_->usage().size_bytes);
  {
    const StagingSlab slab = pool_->take(5000).value();
    EXPECT_EQ(slab.bytes().size(), 5000u);
    EXPECT_TRUE(device().is_registered(slab.bytes()));
    EXPECT_EQ(device().usage().registered_bytes, pool_->usage().size_bytes);
  }
  pool_.reset();
  EXPECT_EQ(device().usage().registered_bytes, 0u);
  EXPECT_EQ(ledger_.usage().of(MemoryUse::kStaging).used_bytes, 0u);
}

TEST_F(StagingPools, WorkUnregisteredAndSayWhy) {
  open(",fault=regfail");
  EXPECT_EQ(pool_->registration().code(), ErrorCode::kFailedPrecondition);
  EXPECT_FALSE(device().is_registered(pool_->take(5000).value().bytes()));

  pool_.reset();
  devices_ =
      EmulatedDevices::create(parse_emulation_spec("emu:1,pinned=4k").value(), kernels_).value();
  pool_ = StagingPool::create(device(), pages_, {}, kPoolBytes).value();
  EXPECT_EQ(pool_->registration().code(), ErrorCode::kResourceExhausted);
}

TEST_F(StagingPools, AreNotMadeForADeviceThatDoesNothing) {
  open();
  device().abandon();
  const auto refused = StagingPool::create(device(), pages_, {}, kPoolBytes);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(StagingPool::create(device(), pages_, {}, 0).error().code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(StagingPool::create(device(), pages_, {}, 2 << 20).error().code(),
            ErrorCode::kResourceExhausted);
}

TEST_F(StagingPools, RefuseWhatDoesNotFitInWords) {
  open();
  EXPECT_EQ(pool_->take(0).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(pool_->take(kPoolBytes + 1).error().code(), ErrorCode::kOutOfRange);
  EXPECT_EQ(pool_->take(~std::uint64_t{0}).error().code(), ErrorCode::kOutOfRange);
  const StagingSlab most = pool_->take(kPoolBytes - 4096).value();
  const Result<StagingSlab> refused = pool_->take(4097);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.error().message()), HasSubstr("60.00 KiB of 64.00 KiB"));
  EXPECT_TRUE(pool_->take(4096).has_value());
}

// Slabs never share a page, and what was given back is one piece again.
TEST_F(StagingPools, GiveEachPageToOneSlabAndGetAllBack) {
  open();
  std::mt19937 random(7);
  std::vector<StagingSlab> slabs;
  for (int round = 0; round < 2000; ++round) {
    if (!slabs.empty() && random() % 2 == 0) {
      std::swap(slabs[random() % slabs.size()], slabs.back());
      slabs.pop_back();
    } else if (Result<StagingSlab> slab = pool_->take(1 + random() % 20'000)) {
      slabs.push_back(*std::move(slab));
    }
    std::vector<std::pair<std::size_t, std::size_t>> pages;
    for (const StagingSlab& slab : slabs) {
      const auto begin = reinterpret_cast<std::size_t>(slab.bytes().data());
      ASSERT_EQ(begin % 4096, 0u);
      pages.emplace_back(begin / 4096, (begin + slab.bytes().size() + 4095) / 4096);
    }
    std::sort(pages.begin(), pages.end());
    std::size_t used = 0;
    for (std::size_t i = 0; i < pages.size(); ++i) {
      ASSERT_TRUE(i == 0 || pages[i - 1].second <= pages[i].first);
      used += pages[i].second - pages[i].first;
    }
    ASSERT_EQ(pool_->usage().used_bytes, used * 4096);
  }
  slabs.clear();
  EXPECT_EQ(pool_->usage().used_bytes, 0u);
  EXPECT_TRUE(pool_->take(kPoolBytes).has_value());
}

}  // namespace
}  // namespace pinion
