#include <pinion/shm/copy_table.hpp>

#include <unistd.h>

#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shm/shared_blob_store.hpp>

#include "temporary_folder.hpp"

namespace pinion {
namespace {

constexpr BlobStoreIdentity kIdentity = {.job = 7, .epoch = 1, .host = 1};
constexpr Place kHome = {.index = 0, .host = 1};
constexpr std::uint32_t kReader = 5;

BlobHandle handle_of(std::uint32_t segment, std::uint64_t length_bytes, std::uint32_t index = 0,
                     std::uint32_t host = 2) {
  return {.job = kIdentity.job,
          .generation = 1,
          .length_bytes = length_bytes,
          .epoch = kIdentity.epoch,
          .host = host,
          .segment = segment,
          .index = index};
}

CopyTableOptions options(std::uint64_t memory_bytes_max, std::string spill_directory = {}) {
  return {.identity = kIdentity,
          .host_count = 3,
          .memory_bytes_max = memory_bytes_max,
          .spill_directory = std::move(spill_directory)};
}

// A copy whose bytes are all `fill`.
Status bring(CopyTable& table, const BlobHandle& handle, char fill = 'x') {
  Result<BlobCopy> copy = table.make(handle, kHome, nullptr);
  if (!copy) {
    return std::move(copy).error();
  }
  const std::span<std::byte> bytes = copy->writer.bytes();
  std::fill(bytes.begin(), bytes.end(), static_cast<std::byte>(fill));
  const Result<Blob> sealed = copy->writer.seal();
  return sealed ? table.add(handle, kHome, std::move(*copy->segment)) : sealed.error();
}

// What a rank's store reads of it.
std::string read(CopyTable& table, const BlobHandle& handle) {
  const auto store = make_shared_blob_store(
      {.identity = kIdentity, .host_count = 3},
      {.publish = [](const BlobHandle&, Place, int) { return Status(); },
       .fetch = [&](const BlobHandle& wanted) -> Result<std::pair<UniqueFd, Place>> {
         const Result<std::pair<int, Place>> found = table.fetch(kReader, wanted);
         if (!found) {
           return found.error();
         }
         return std::pair(UniqueFd(::dup(found->first)), found->second);
       },
       .let_go = [&](const BlobHandle& gone) { table.let_go(kReader, gone); }});
  const Result<Blob> blob = store->open(handle);
  if (!blob) {
    return blob.error().to_string();
  }
  return {reinterpret_cast<const char*>(blob->bytes().data()), blob->bytes().size()};
}

TEST(CopyTable, GivesARankTheBytesOfAnotherHost) {
  CopyTable table(options(1000));
  for (const BlobHandle& handle :
       {handle_of(1, 3), handle_of(1, 0, 0, 0), handle_of(1, 4, 9), handle_of(1, 5, 9, 0)}) {
    ASSERT_TRUE(bring(table, handle, static_cast<char>('a' + handle.length_bytes)).ok());
    EXPECT_EQ(read(table, handle),
              std::string(handle.length_bytes, static_cast<char>('a' + handle.length_bytes)));
  }
  EXPECT_EQ(table.usage().blob_count, 4u);
  EXPECT_EQ(table.usage().memory_bytes, 12u);
}

TEST(CopyTable, RefusesWhatIsNoBlobOfAnotherHost) {
  CopyTable table(options(1000));
  BlobHandle other_job = handle_of(1, 3);
  other_job.job = 8;
  BlobHandle other_epoch = handle_of(1, 3);
  other_epoch.epoch = 2;
  for (const BlobHandle& handle :
       {other_job, other_epoch, handle_of(1, 3, 0, kIdentity.host), handle_of(1, 3, 0, 3)}) {
    EXPECT_EQ(table.check(handle).code(), ErrorCode::kFailedPrecondition);
    EXPECT_EQ(bring(table, handle).code(), ErrorCode::kFailedPrecondition);
  }
  EXPECT_EQ(table.fetch(kReader, handle_of(1, 3)).error().code(), ErrorCode::kNotFound);
  ASSERT_TRUE(bring(table, handle_of(1, 3)).ok());
  EXPECT_EQ(bring(table, handle_of(1, 3)).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(table.fetch(kReader, handle_of(1, 4)).error().code(), ErrorCode::kInvalidArgument);
}

TEST(CopyTable, RefusesASegmentThatIsNotTheBlobs) {
  CopyTable table(options(1000));
  Result<BlobCopy> copy = table.make(handle_of(1, 3), kHome, nullptr);
  ASSERT_TRUE(copy.has_value());
  ASSERT_TRUE(copy->writer.seal().has_value());
  EXPECT_EQ(table.add(handle_of(2, 3), kHome, std::move(*copy->segment)).code(),
            ErrorCode::kDataLoss);
  EXPECT_FALSE(table.has(handle_of(2, 3)));
}

TEST(CopyTable, LetsThoseGoThatNobodyHasReadForLongest) {
  CopyTable table(options(10));
  ASSERT_TRUE(bring(table, handle_of(1, 4)).ok());
  ASSERT_TRUE(bring(table, handle_of(2, 4)).ok());
  EXPECT_EQ(read(table, handle_of(1, 4)), "xxxx");
  ASSERT_TRUE(bring(table, handle_of(3, 4)).ok());
  EXPECT_TRUE(table.has(handle_of(1, 4)));
  EXPECT_FALSE(table.has(handle_of(2, 4)));
  EXPECT_TRUE(table.has(handle_of(3, 4)));
  EXPECT_EQ(table.usage().memory_bytes, 8u);
}

TEST(CopyTable, KeepsWhatSomebodyReads) {
  CopyTable table(options(10));
  ASSERT_TRUE(bring(table, handle_of(1, 8)).ok());
  ASSERT_TRUE(table.fetch(kReader, handle_of(1, 8)).has_value());
  ASSERT_TRUE(table.fetch(kReader, handle_of(1, 8)).has_value());
  EXPECT_EQ(bring(table, handle_of(2, 8)).code(), ErrorCode::kResourceExhausted);
  table.let_go(kReader, handle_of(1, 8));
  table.let_go(kReader + 1, handle_of(1, 8));
  EXPECT_EQ(bring(table, handle_of(2, 8)).code(), ErrorCode::kResourceExhausted);
  table.let_go(kReader, handle_of(1, 8));
  EXPECT_TRUE(bring(table, handle_of(2, 8)).ok());
  EXPECT_FALSE(table.has(handle_of(1, 8)));
}

TEST(CopyTable, PutsIntoAFileWhatMemoryHasNoRoomFor) {
  const TemporaryFolder folder;
  CopyTable table(options(10, folder.path()));
  ASSERT_TRUE(bring(table, handle_of(1, 8)).ok());
  ASSERT_TRUE(table.fetch(kReader, handle_of(1, 8)).has_value());
  ASSERT_TRUE(bring(table, handle_of(2, 8), 'y').ok());
  EXPECT_EQ(table.usage().memory_bytes, 8u);
  EXPECT_EQ(table.usage().spilled_bytes, 8u);
  EXPECT_EQ(read(table, handle_of(2, 8)), "yyyyyyyy");
}

TEST(CopyTable, LeavesTheSystemItsSpareMemory) {
  CopyTableOptions scarce = options(std::uint64_t{1} << 40);
  scarce.available_bytes = [] { return std::uint64_t{32} << 20; };
  CopyTable table(scarce);
  EXPECT_EQ(bring(table, handle_of(1, 1)).code(), ErrorCode::kResourceExhausted);
}

TEST(CopyTable, DropsAReleasedBlobWithItsLastReader) {
  CopyTable table(options(100));
  ASSERT_TRUE(bring(table, handle_of(1, 4)).ok());
  ASSERT_TRUE(bring(table, handle_of(2, 4)).ok());
  ASSERT_TRUE(table.fetch(kReader, handle_of(2, 4)).has_value());
  table.release(handle_of(1, 4));
  table.release(handle_of(2, 4));
  table.release(handle_of(3, 4));
  EXPECT_FALSE(table.has(handle_of(1, 4)));
  EXPECT_EQ(table.fetch(kReader + 1, handle_of(2, 4)).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(table.usage().memory_bytes, 4u);
  table.client_gone(kReader);
  EXPECT_EQ(table.usage().blob_count, 0u);
  EXPECT_EQ(table.usage().memory_bytes, 0u);
}

}  // namespace
}  // namespace pinion
