// Blobs of an earlier epoch: they are found by the handles that they had then.

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "shm_host.hpp"

namespace pinion {
namespace {

std::vector<std::byte> some_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t index = 0; index < count; ++index) {
    bytes[index] = static_cast<std::byte>(index * 7 + count);
  }
  return bytes;
}

BlobHandle earlier(std::uint32_t epoch, std::uint32_t segment, std::uint32_t index,
                   std::uint64_t length_bytes) {
  return {.job = kTestIdentity.job,
          .generation = 1 + index,
          .length_bytes = length_bytes,
          .epoch = epoch,
          .host = kTestIdentity.host,
          .segment = segment,
          .index = index};
}

// The parameter is a folder to spill to, or nothing.
class RestoredBlob : public testing::TestWithParam<const char*> {
 protected:
  Status restore(const BlobHandle& handle, const std::vector<std::byte>& bytes) {
    return agent_.table().restore(handle, kTestPlace, bytes, GetParam());
  }

  TableAgent agent_{16};
};

TEST_P(RestoredBlob, IsReadByTheHandleThatItHad) {
  const std::unique_ptr<IBlobStore> plain = agent_.make_store(0, 1 << 20);
  const std::unique_ptr<IBlobStore> with_slabs = agent_.make_slab_store(1, 1 << 20);
  // The same numbers in two epochs, a small one that lay in a slab, an empty one.
  const std::vector<BlobHandle> handles = {earlier(1, 0, 0, 1000), earlier(2, 0, 0, 2000),
                                           earlier(2, 16, 5, 30), earlier(2, 3, 0, 0)};
  for (const BlobHandle& handle : handles) {
    ASSERT_TRUE(restore(handle, some_bytes(handle.length_bytes)).ok());
  }
  EXPECT_EQ(agent_.table().usage().blob_count, 4U);
  for (IBlobStore* const store : {plain.get(), with_slabs.get()}) {
    for (const BlobHandle& handle : handles) {
      const Result<Blob> opened = store->open(handle);
      ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
      EXPECT_TRUE(std::ranges::equal(opened->bytes(), some_bytes(handle.length_bytes)));
      EXPECT_EQ(opened->handle(), handle);
      EXPECT_EQ(opened->home(), kTestPlace);
    }
  }
}

TEST_P(RestoredBlob, DoesNotTakeTheNumberOfAnother) {
  const std::unique_ptr<IBlobStore> store = agent_.make_store(0, 1 << 20);
  ASSERT_TRUE(restore(earlier(2, 0, 0, 100), some_bytes(100)).ok());
  const Result<Blob> old = store->open(earlier(2, 0, 0, 100));
  Result<BlobWriter> writer = store->create(50, kTestPlace);
  ASSERT_TRUE(writer.has_value());
  const Result<Blob> made = writer->seal();
  ASSERT_TRUE(made.has_value());
  ASSERT_EQ(made->handle().segment, 0U);
  EXPECT_EQ(store->open(made->handle())->bytes().size(), 50U);
  EXPECT_EQ(store->open(earlier(2, 0, 0, 100))->bytes().size(), 100U);
}

TEST_P(RestoredBlob, IsThereUntilItIsReleased) {
  const std::unique_ptr<IBlobStore> store = agent_.make_store(0, 1 << 20);
  const BlobHandle handle = earlier(1, 2, 0, 100);
  EXPECT_EQ(store->open(handle).error().code(), ErrorCode::kFailedPrecondition);
  ASSERT_TRUE(restore(handle, some_bytes(100)).ok());
  EXPECT_EQ(restore(handle, some_bytes(100)).code(), ErrorCode::kAlreadyExists);
  EXPECT_TRUE(agent_.table().keep(handle).ok());
  BlobHandle longer = handle;
  ++longer.length_bytes;
  EXPECT_EQ(store->open(longer).error().code(), ErrorCode::kInvalidArgument);
  agent_.table().client_gone(0);
  {
    const Result<Blob> opened = store->open(handle);
    ASSERT_TRUE(opened.has_value());
    agent_.table().release(longer);
    EXPECT_TRUE(agent_.table().keep(handle).ok());
    agent_.table().release(handle);
    EXPECT_TRUE(std::ranges::equal(opened->bytes(), some_bytes(100)));
  }
  EXPECT_EQ(agent_.table().usage().blob_count, 0U);
  EXPECT_EQ(agent_.table().usage().memory_bytes, 0U);
  EXPECT_EQ(agent_.table().keep(handle).code(), ErrorCode::kFailedPrecondition);
}

TEST_P(RestoredBlob, IsOfAnEarlierEpochOfTheSameJobAndHost) {
  BlobHandle of_another_job = earlier(1, 0, 0, 10);
  ++of_another_job.job;
  EXPECT_EQ(restore(of_another_job, some_bytes(10)).code(), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(restore(earlier(3, 0, 0, 10), some_bytes(10)).code(), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(restore(earlier(1, 0, 0, 11), some_bytes(10)).code(), ErrorCode::kInvalidArgument);
}

// To be written elsewhere: the bytes of any blob that the job keeps.
TEST_P(RestoredBlob, HasItsBytesInAFileLikeEveryOther) {
  const std::unique_ptr<IBlobStore> store = agent_.make_slab_store(0, 1 << 22);
  std::vector<BlobHandle> handles = {earlier(2, 0, 0, 100)};
  ASSERT_TRUE(restore(handles[0], some_bytes(100)).ok());
  for (const std::size_t size : {std::size_t{200}, std::size_t{1} << 20}) {
    Result<BlobWriter> writer = store->create(size, kTestPlace);
    ASSERT_TRUE(writer.has_value());
    std::ranges::copy(some_bytes(size), writer->bytes().begin());
    const Result<Blob> made = writer->seal();
    ASSERT_TRUE(made.has_value());
    handles.push_back(made->handle());
    ASSERT_TRUE(agent_.table().keep(handles.back()).ok());
  }
  ASSERT_NE(handles[1].index, 0U) << "a small one lies in a slab";
  agent_.table().client_gone(0);
  for (const BlobHandle& handle : handles) {
    const Result<BlobFilePart> part = agent_.table().file_part_of(handle);
    ASSERT_TRUE(part.has_value()) << part.error().to_string();
    std::vector<std::byte> read(handle.length_bytes);
    EXPECT_EQ(
        ::pread(part->descriptor.get(), read.data(), read.size(), static_cast<off_t>(part->offset)),
        static_cast<ssize_t>(read.size()));
    EXPECT_TRUE(std::ranges::equal(read, some_bytes(handle.length_bytes)));
    EXPECT_EQ(part->home, kTestPlace);
  }
  agent_.table().release(handles[1]);
  EXPECT_FALSE(agent_.table().file_part_of(handles[1]).has_value());
}

INSTANTIATE_TEST_SUITE_P(InMemory, RestoredBlob, testing::Values(""));
INSTANTIATE_TEST_SUITE_P(OnDisk, RestoredBlob, testing::Values("/var/tmp"));

}  // namespace
}  // namespace pinion
