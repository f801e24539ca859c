// Blobs of more than 4 GiB, where 32 bits would begin again, in each kind of memory that a store
// has. No two of these tests run side by side, as each needs a lot of memory.

#include <sys/statvfs.h>

#include <array>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <pinion/numa/memory_limits.hpp>
#include <pinion/shm/blob_memory.hpp>
#include <pinion/shm/local_blob_store.hpp>
#include <pinion/shm/shared_blob_store.hpp>

#include "shm_host.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kFour = std::uint64_t{4} << 30;
constexpr std::uint64_t kSize = kFour + 12345;

std::uint64_t free_bytes(const BlobMemory& memory) {
  struct statvfs system = {};
  EXPECT_EQ(::fstatvfs(memory.writable.get(), &system), 0);
  return system.f_bfree * system.f_bsize;
}

class LargeBlob : public testing::Test {
 protected:
  void SetUp() override {
    const Result<MemoryLimits> limits = memory_limits();
    ASSERT_TRUE(limits.has_value()) << limits.error().to_string();
    if (limits->available.bytes < 2 * kSize) {
      GTEST_SKIP() << "a blob of " << kSize << " bytes needs twice that; there are "
                   << limits->available.bytes;
    }
  }

  // Marks at both ends and on both sides of 4 GiB.
  void expect_to_read_what_was_written(IBlobStore& writer, IBlobStore& reader) {
    Result<BlobWriter> writing = writer.create(kSize, kTestPlace);
    ASSERT_TRUE(writing.has_value()) << writing.error().to_string();
    const std::array<std::uint64_t, 5> marks = {0, 12345, kFour - 1, kFour, kSize - 1};
    for (std::size_t i = 0; i < marks.size(); ++i) {
      writing->bytes()[marks[i]] = static_cast<std::byte>(i + 1);
    }
    const Result<Blob> sealed = writing->seal();
    ASSERT_TRUE(sealed.has_value()) << sealed.error().to_string();
    EXPECT_EQ(sealed->handle().length_bytes, kSize);
    const Result<Blob> opened = reader.open(sealed->handle());
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    ASSERT_EQ(opened->bytes().size(), kSize);
    for (std::size_t i = 0; i < marks.size(); ++i) {
      EXPECT_EQ(opened->bytes()[marks[i]], static_cast<std::byte>(i + 1)) << "at " << marks[i];
    }
    read_ = *opened;
  }

  Blob read_;
};

TEST_F(LargeBlob, IsLargerThanFourGibibytes) {
  TableAgent agent(16);
  const auto writer = agent.make_slab_store(0, kSize);
  const auto reader = agent.make_slab_store(1, 0);
  expect_to_read_what_was_written(*writer, *reader);
}

// As ranks share one where the system lets them mount.
TEST_F(LargeBlob, IsLargerThanFourGibibytesInMemoryWithHugePages) {
  Result<BlobMemory> made = make_blob_memory(kSize + (std::uint64_t{1} << 20));
  if (!made) {
    GTEST_SKIP() << "this system gives no such memory: " << made.error().to_string();
  }
  const auto memory = std::make_shared<const BlobMemory>(*std::move(made));
  const std::uint64_t free_at_first = free_bytes(*memory);
  TableAgent agent(16);
  SharedBlobStoreOptions options = agent.options(0, kSize);
  options.blob_memory = memory;
  const auto writer = make_shared_blob_store(options, agent.exchange(0));
  const auto reader = agent.make_store(1, 0);
  expect_to_read_what_was_written(*writer, *reader);
  EXPECT_LE(free_bytes(*memory), free_at_first - kSize);
  agent.table().client_gone(0);
  read_ = {};
  EXPECT_EQ(free_bytes(*memory), free_at_first);
}

TEST_F(LargeBlob, IsLargerThanFourGibibytesInAJobOfOneProcess) {
  LocalBlobStore store(kTestIdentity, MemoryLedger({.budget_bytes = kSize}));
  expect_to_read_what_was_written(store, store);
  EXPECT_EQ(store.usage().memory_bytes, kSize);
}

}  // namespace
}  // namespace pinion
