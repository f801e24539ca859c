#include <pinion/shm/local_blob_store.hpp>

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

}  // namespace
}  // namespace pinion
