#include <pinion/shm/local_blob_store.hpp>

#include <algorithm>

#include <gtest/gtest.h>

#include "shm_host.hpp"

namespace pinion {
namespace {

TEST(LocalBlobStore, DropsABlobThatIsNeitherKeptNorReferenced) {
  LocalBlobStore store(kTestIdentity, MemoryLedger({.budget_bytes = 1000}));
  BlobHandle handle;
  {
    const Result<Blob> sealed = store.create(600, kTestPlace)->seal();
    ASSERT_TRUE(sealed.has_value());
    handle = sealed->handle();
    EXPECT_EQ(store.usage().memory_bytes, 600u);
  }
  EXPECT_EQ(store.usage().memory_bytes, 0u);
  EXPECT_EQ(store.open(handle).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(store.keep(handle).code(), ErrorCode::kNotFound);
}

TEST(LocalBlobStore, ChargesAKeptBlobUntilItIsReleased) {
  LocalBlobStore store(kTestIdentity, MemoryLedger({.budget_bytes = 1000}));
  const BlobHandle handle = [&] {
    const Result<Blob> sealed = store.create(600, kTestPlace)->seal();
    EXPECT_TRUE(store.keep(sealed->handle()).ok());
    return sealed->handle();
  }();
  EXPECT_EQ(store.create(401, kTestPlace).error().code(), ErrorCode::kResourceExhausted);
  BlobHandle stale = handle;
  ++stale.length_bytes;
  store.release(stale);
  EXPECT_EQ(store.usage().memory_bytes, 600u);
  store.release(handle);
  EXPECT_EQ(store.usage().memory_bytes, 0u);
  EXPECT_TRUE(store.create(1000, kTestPlace).has_value());
}

TEST(LocalBlobStore, BindsItsMemoryAndReportsWhatFails) {
  Status answer;
  int call_count = 0;
  LocalBlobStore store(kTestIdentity, MemoryLedger({.budget_bytes = 1000}),
                       [&](std::span<std::byte> bytes, Place place) {
                         ++call_count;
                         EXPECT_EQ(bytes.size(), 600u);
                         EXPECT_EQ(place, kTestPlace);
                         return answer;
                       });
  EXPECT_TRUE(store.create(600, kTestPlace).has_value());
  EXPECT_EQ(call_count, 1);
  answer = Status(ErrorCode::kInvalidArgument, "no such place");
  EXPECT_EQ(store.create(600, kTestPlace).error().message(), "no such place");
  EXPECT_EQ(store.usage().memory_bytes, 0u);
}

TEST(LocalBlobStore, GivesBackTheWholePagesOfWhatIsDiscarded) {
  constexpr std::uint64_t kPage = 4096;
  const MemoryLedger ledger({.budget_bytes = 64 * kPage});
  LocalBlobStore store(kTestIdentity, ledger);
  BlobWriter writer = store.create(16 * kPage, kTestPlace).value();
  std::ranges::fill(writer.bytes(), std::byte{1});
  const Blob blob = writer.seal().value();
  store.discard(blob.handle(), kPage - 10, 4 * kPage);  // Three whole ones.
  store.discard(blob.handle(), 10, 100);                // None.
  EXPECT_EQ(store.usage().memory_bytes, 13 * kPage);
  EXPECT_EQ(ledger.usage().of(MemoryUse::kBlobs).used_bytes, 13 * kPage);
  const auto is_kept = [](std::byte byte) { return byte == std::byte{1}; };
  EXPECT_TRUE(std::ranges::all_of(blob.bytes().first(kPage), is_kept));
  EXPECT_TRUE(std::ranges::all_of(blob.bytes().subspan(4 * kPage), is_kept));
  BlobHandle unknown = blob.handle();
  ++unknown.segment;
  store.discard(unknown, 0, kPage);
  EXPECT_EQ(store.usage().memory_bytes, 13 * kPage);
}

TEST(LocalBlobStore, AlignsLargeBlobsToHugePages) {
  constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20;
  const MemoryLedger ledger({.budget_bytes = 8 * kHugePage});
  LocalBlobStore store(kTestIdentity, ledger);
  for (const std::uint64_t size : {kHugePage, kHugePage + 1, 3 * kHugePage - 1}) {
    BlobWriter writer = store.create(size, kTestPlace).value();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(writer.bytes().data()) % kHugePage, 0u);
    EXPECT_EQ(writer.bytes().size(), size);
    EXPECT_TRUE(std::ranges::all_of(writer.bytes(), [](std::byte b) { return b == std::byte{}; }));
    writer.bytes().back() = std::byte{1};
  }
}

}  // namespace
}  // namespace pinion
