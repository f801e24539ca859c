#include <pinion/shm/shared_blob_store.hpp>

#include <chrono>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shm_host.hpp"
#include "system_room.hpp"

// What a shared store does when there is no memory: it waits, spills, or says why not.

namespace pinion {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kBudget = 4 * kMiB;
// Nobody waits that long: what ends it comes before.
constexpr Duration kVeryLong = std::chrono::hours(1);

class Room : public testing::Test {
 protected:
  // The ledger is exhausted by a blob, and `on_refusal` is told how often it has refused another.
  std::unique_ptr<IBlobStore> make_full_store(Duration memory_wait,
                                              std::function<void(int count)> on_refusal) {
    SharedBlobStoreOptions options = agent_.options(0, kBudget);
    options.memory_wait = memory_wait;
    auto store = make_shared_blob_store(options, agent_.exchange(0));
    in_the_way_ = store->create(kBudget, kTestPlace)->seal().value();
    options.memory.set_reclaimer(
        [this, on_refusal = std::move(on_refusal)](std::uint64_t) -> std::uint64_t {
          on_refusal(++refusal_count_);
          return 0;
        });
    return store;
  }

  TableAgent agent_{1 << 10};
  std::optional<Blob> in_the_way_;
  int refusal_count_ = 0;
};

TEST_F(Room, IsWaitedForUntilABlobIsLetGoOf) {
  std::latch refused(1);
  const auto store = make_full_store(kVeryLong, [&](int count) {
    if (count == 1) {
      refused.count_down();
    }
  });
  std::thread other([&] {
    refused.wait();
    in_the_way_.reset();
  });
  const Result<BlobWriter> waited = store->create(kMiB, kTestPlace);
  EXPECT_TRUE(waited.has_value());
  other.join();
}

TEST_F(Room, IsWaitedForAsLongAsItTakes) {
  const auto store = make_full_store(kVeryLong, [&](int count) {
    if (count == 5) {
      in_the_way_.reset();
    }
  });
  EXPECT_TRUE(store->create(kMiB, kTestPlace).has_value());
  EXPECT_GE(refusal_count_, 5);
}

TEST_F(Room, IsRefusedOnceTheTimeIsOver) {
  const auto store = make_full_store(1ms, [](int) {});
  const Result<BlobWriter> refused = store->create(kMiB, kTestPlace);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.error().message()),
              AllOf(HasSubstr("blobs uses 4194304"), HasSubstr("memory-wait-seconds")));
  EXPECT_GE(refusal_count_, 2);
}

TEST_F(Room, IsNotWaitedForWhereItCanNeverBe) {
  const auto store = make_full_store(kVeryLong, [](int) {});
  const Result<BlobWriter> refused = store->create(kBudget + 1, kTestPlace);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
}

TEST_F(Room, IsNotWaitedForWhereNobodyMayWait) {
  const auto store = make_full_store(Duration::zero(), [](int) {});
  EXPECT_EQ(store->create(kMiB, kTestPlace).error().code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(refusal_count_, 1);
}

// Each rank has a ledger of its own: what one has taken is missed by no other.
TEST_F(Room, OfOneRankIsNotTakenByAnother) {
  const auto full = make_full_store(Duration::zero(), [](int) {});
  const auto other = agent_.make_store(1, kBudget);
  EXPECT_FALSE(full->create(1, kTestPlace).has_value());
  EXPECT_TRUE(other->create(kBudget, kTestPlace).has_value());
}

// What the agent said last may be long ago.
TEST_F(Room, IsAskedForBeforeABlobGoesToTheDisk) {
  SharedBlobStoreOptions options = agent_.options(0, kBudget);
  options.held_bytes_max = 10 * kMiB;
  options.spill = {.directory = testing::TempDir()};
  std::uint64_t held_bytes = 10 * kMiB;
  SegmentExchange exchange = agent_.exchange(0);
  exchange.held_bytes = [] { return 10 * kMiB; };
  exchange.ask_held_bytes = [&] { return held_bytes; };
  const auto store = make_shared_blob_store(options, exchange);
  const Blob spilled = store->create(kMiB, kTestPlace)->seal().value();
  EXPECT_EQ(store->usage().spilled_bytes, kMiB);
  held_bytes = 0;
  const Blob in_memory = store->create(kMiB, kTestPlace)->seal().value();
  EXPECT_EQ(store->usage().memory_bytes, kMiB);
}

TEST_F(Room, IsWaitedForUntilTheHostHoldsLess) {
  SharedBlobStoreOptions options = agent_.options(0, kBudget);
  options.memory_wait = kVeryLong;
  options.held_bytes_max = 10 * kMiB;
  int ask_count = 0;
  SegmentExchange exchange = agent_.exchange(0);
  exchange.held_bytes = [] { return 10 * kMiB; };
  exchange.ask_held_bytes = [&] { return ++ask_count < 3 ? 10 * kMiB : 0; };
  const auto store = make_shared_blob_store(options, exchange);
  EXPECT_TRUE(store->create(kMiB, kTestPlace).has_value());
  EXPECT_EQ(ask_count, 3);
}

TEST_F(Room, IsNotTakenFromASystemThatHasNone) {
  SharedBlobStoreOptions options = agent_.options(0, 64 * kMiB);
  options.available_bytes = [] { return 40 * kMiB; };
  const auto store = make_shared_blob_store(options, agent_.exchange(0));
  EXPECT_TRUE(store->create(7 * kMiB, kTestPlace).has_value());
  const Result<BlobWriter> refused = store->create(9 * kMiB, kTestPlace);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  for (const char* const part : {"9437184 bytes", "41943040 bytes are left", "control group"}) {
    EXPECT_THAT(std::string(refused.error().message()), HasSubstr(part));
  }
  EXPECT_EQ(store->usage().memory_bytes, 0u);
}

TEST_F(Room, IsOnTheDiskWhereTheSystemHasNone) {
  SharedBlobStoreOptions options = agent_.options(0, 64 * kMiB);
  options.available_bytes = [] { return 40 * kMiB; };
  options.spill = {.directory = testing::TempDir()};
  const auto store = make_shared_blob_store(options, agent_.exchange(0));
  const Blob blob = store->create(9 * kMiB, kTestPlace)->seal().value();
  EXPECT_EQ(store->usage().spilled_bytes, 9 * kMiB);
  EXPECT_EQ(store->usage().memory_bytes, 0u);
}

TEST_F(Room, OfALargeBlobIsFreeOnceNobodyHasIt) {
  const auto writer = make_shared_blob_store(agent_.options(0, kBudget), agent_.exchange(0));
  const auto reader = make_shared_blob_store(agent_.options(1, kBudget), agent_.exchange(1));
  std::optional<Blob> made = writer->create(kMiB, kTestPlace)->seal().value();
  const BlobHandle handle = made->handle();
  std::optional<Blob> opened = reader->open(handle).value();
  made.reset();
  EXPECT_EQ(agent_.table().usage().memory_bytes, kMiB);
  EXPECT_TRUE(writer->open(handle).has_value());
  EXPECT_EQ(agent_.table().usage().memory_bytes, kMiB);
  opened.reset();
  EXPECT_EQ(agent_.table().usage().memory_bytes, 0u);
  EXPECT_EQ(reader->open(handle).error().code(), ErrorCode::kNotFound);
}

TEST_F(Room, IsLetGoOfByNobodyOnceTheStoreIsGone) {
  int count = 0;
  SegmentExchange exchange = agent_.exchange(0);
  exchange.let_go = [&](const BlobHandle&) { ++count; };
  auto store = make_shared_blob_store(agent_.options(0, kBudget), exchange);
  { const Blob before = store->create(kMiB, kTestPlace)->seal().value(); }
  EXPECT_EQ(count, 1);
  std::optional<Blob> after = store->create(kMiB, kTestPlace)->seal().value();
  store.reset();
  after.reset();
  EXPECT_EQ(count, 1);
}

TEST(SystemRoom, AsksAgainAfterAnEighthOfWhatThereWas) {
  std::uint64_t available_bytes = 256 * kMiB;
  int count = 0;
  SystemRoom room([&] {
    ++count;
    return available_bytes;
  });
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(room.take(8 * kMiB).ok());
  }
  EXPECT_EQ(count, 1);
  available_bytes = 40 * kMiB;
  EXPECT_TRUE(room.take(8 * kMiB).ok());
  EXPECT_EQ(count, 2);
  available_bytes = 33 * kMiB;
  EXPECT_EQ(room.take(2 * kMiB).code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(count, 3);
  EXPECT_TRUE(room.take(kMiB).ok());
  EXPECT_EQ(room.take(1).code(), ErrorCode::kOk);
}

// Others take memory, however much there is.
TEST(SystemRoom, AsksAgainAfterSixtyFourMiB) {
  int count = 0;
  SystemRoom room([&] {
    ++count;
    return 1024 * kMiB * kMiB;
  });
  for (int i = 0; i < 9; ++i) {
    EXPECT_TRUE(room.take(8 * kMiB).ok());
  }
  EXPECT_EQ(count, 2);
}

TEST(SystemRoom, IsEndlessWhereNobodyCanTell) {
  EXPECT_TRUE(SystemRoom({}).take(~std::uint64_t{0}).ok());
}

}  // namespace
}  // namespace pinion
