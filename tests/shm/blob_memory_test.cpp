#include <pinion/shm/blob_memory.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shm_host.hpp"

namespace pinion {
namespace {

using testing::AnyOf;
using testing::Eq;
using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kMemoryBytes = 16 * kMiB;

bool is_filled(const Blob& blob, unsigned value) {
  return std::ranges::all_of(blob.bytes(),
                             [=](std::byte byte) { return byte == std::byte(value); });
}

class BlobMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    Result<BlobMemory> made = make_blob_memory(kMemoryBytes);
    if (!made) {
      GTEST_SKIP() << "this system gives no such memory: " << made.error().to_string();
    }
    memory_ = std::make_shared<const BlobMemory>(*std::move(made));
    free_at_first_ = free_bytes();
  }

  std::unique_ptr<IBlobStore> make_store(std::uint32_t client, BindMemory bind_memory = {},
                                         SpillOptions spill = {}, Duration memory_wait = {}) {
    SharedBlobStoreOptions options = agent_.options(client, 4 * kMemoryBytes);
    options.blob_memory = memory_;
    options.bind_memory = std::move(bind_memory);
    options.spill = std::move(spill);
    options.memory_wait = memory_wait;
    return make_shared_blob_store(options, agent_.exchange(client));
  }

  Blob seal_filled(IBlobStore& store, std::uint64_t size_bytes, unsigned value) {
    Result<BlobWriter> writer = store.create(size_bytes, kTestPlace);
    EXPECT_TRUE(writer.has_value()) << writer.error().to_string();
    std::ranges::fill(writer->bytes(), std::byte(value));
    return std::move(writer->seal()).value();
  }

  [[nodiscard]] std::uint64_t free_bytes() const {
    struct statvfs system = {};
    EXPECT_EQ(::fstatvfs(memory_->writable.get(), &system), 0);
    return system.f_bfree * system.f_bsize;
  }

  [[nodiscard]] int descriptor_of(const Blob& blob) {
    return agent_.table().find(blob.handle())->first;
  }

  // Of the root: a name in it is found by anybody who has it.
  [[nodiscard]] std::ptrdiff_t name_count() const {
    const std::string root = "/proc/self/fd/" + std::to_string(memory_->writable.get());
    return std::distance(std::filesystem::directory_iterator(root),
                         std::filesystem::directory_iterator());
  }

  TableAgent agent_{1 << 10};
  std::shared_ptr<const BlobMemory> memory_;
  std::uint64_t free_at_first_ = 0;
};

TEST_F(BlobMemoryTest, HoldsLargeBlobsAndNothingElse) {
  const auto writer = make_store(0);
  const auto reader = make_store(1);
  const Blob small = seal_filled(*writer, 1000, 1);
  EXPECT_EQ(free_bytes(), free_at_first_);
  const Blob large = seal_filled(*writer, 5 * kMiB, 2);
  EXPECT_LE(free_bytes(), free_at_first_ - 5 * kMiB);
  EXPECT_GE(free_bytes(), free_at_first_ - 5 * kMiB - 2 * 4096);
  EXPECT_TRUE(is_filled(reader->open(large.handle()).value(), 2));
  EXPECT_TRUE(is_filled(reader->open(small.handle()).value(), 1));
  EXPECT_EQ(agent_.table().usage().memory_bytes, 5 * kMiB + 1000);
  EXPECT_EQ(agent_.table().usage().spilled_bytes, 0u);
}

TEST_F(BlobMemoryTest, IsEmptyAgainOnceItsBlobsAreGone) {
  const auto store = make_store(0);
  {
    const Result<BlobWriter> dropped = store->create(kMiB, kTestPlace);
    ASSERT_TRUE(dropped.has_value());
    EXPECT_EQ(name_count(), 0);
    EXPECT_LT(free_bytes(), free_at_first_);
  }
  EXPECT_EQ(free_bytes(), free_at_first_);
  {
    const Blob blob = seal_filled(*store, kMiB, 3);
    EXPECT_EQ(name_count(), 0);
  }
  agent_.table().client_gone(0);
  EXPECT_EQ(free_bytes(), free_at_first_);
}

TEST_F(BlobMemoryTest, GivesNobodyTheRightToWriteWhatIsSealed) {
  const auto store = make_store(0);
  const Blob sealed = seal_filled(*store, kMiB, 4);
  const int descriptor = descriptor_of(sealed);
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  // An ordinary user is stopped by the mode of the file before the mount is asked.
  const auto refused = AnyOf(Eq(EROFS), Eq(EACCES), Eq(EPERM));
  EXPECT_EQ(::open(path.c_str(), O_RDWR | O_CLOEXEC), -1);
  EXPECT_THAT(errno, refused);
  EXPECT_EQ(::fchmod(descriptor, S_IRUSR | S_IWUSR), -1);
  EXPECT_THAT(errno, refused);
  EXPECT_EQ(::truncate(path.c_str(), 0), -1);
  EXPECT_THAT(errno, refused);
  EXPECT_EQ(::ftruncate(descriptor, 0), -1);
  EXPECT_EQ(::pwrite(descriptor, "x", 1, 0), -1);
  EXPECT_EQ(::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  void* const page = const_cast<std::byte*>(sealed.bytes().data() - 64);
  EXPECT_EQ(::mprotect(page, 4096, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
  EXPECT_TRUE(is_filled(sealed, 4));
}

TEST_F(BlobMemoryTest, IsReadOnlyByItsSecondDescriptor) {
  EXPECT_EQ(::openat(memory_->read_only.get(), "name", O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR), -1);
  EXPECT_EQ(errno, EROFS);
}

// What a careless or hostile rank could publish.
TEST_F(BlobMemoryTest, RefusesAFileThatSomebodyCanWrite) {
  const auto store = make_store(0);
  const Blob model = seal_filled(*store, kMiB, 5);
  std::vector<char> image(64 + kMiB);
  ASSERT_EQ(::pread(descriptor_of(model), image.data(), image.size(), 0),
            static_cast<ssize_t>(image.size()));
  UniqueFd writer(::openat(memory_->writable.get(), "name", O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR));
  UniqueFd reader(::openat(memory_->read_only.get(), "name", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::pwrite(writer.get(), image.data(), image.size(), 0),
            static_cast<ssize_t>(image.size()));
  SegmentTable table(kTestIdentity, 1 << 10);
  const auto publish = [&] {
    return table.publish(0, model.handle(), kTestPlace,
                         UniqueFd(::fcntl(reader.get(), F_DUPFD_CLOEXEC, 0)));
  };
  EXPECT_EQ(publish().code(), ErrorCode::kFailedPrecondition);  // It has a name,
  ASSERT_EQ(::unlinkat(memory_->writable.get(), "name", 0), 0);
  const Status open_for_writing = publish();  // and a writer.
  EXPECT_EQ(open_for_writing.code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(std::string(open_for_writing.message()), HasSubstr("open for writing"));
  void* const mapped = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer.get(), 0);
  writer.reset();
  EXPECT_EQ(publish().code(), ErrorCode::kFailedPrecondition);  // A mapping is one.
  ASSERT_EQ(::munmap(mapped, 4096), 0);
  EXPECT_TRUE(publish().ok());
}

TEST_F(BlobMemoryTest, SaysThatItIsFullAndLeavesNothingHalfMade) {
  const auto store = make_store(0);
  const std::ptrdiff_t descriptors = open_descriptor_count();
  const Result<BlobWriter> refused = store->create(kMemoryBytes + kMiB, kTestPlace);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  const std::string words(refused.error().message());
  EXPECT_THAT(words, HasSubstr("memory-bytes"));
  EXPECT_THAT(words, HasSubstr(std::to_string(kMemoryBytes + kMiB + 64)));
  EXPECT_EQ(free_bytes(), free_at_first_);
  EXPECT_EQ(store->usage().memory_bytes, 0u);
  EXPECT_EQ(store->usage().blob_count, 0u);
  EXPECT_EQ(open_descriptor_count(), descriptors);
  EXPECT_TRUE(is_filled(seal_filled(*store, kMiB, 6), 6));
}

TEST_F(BlobMemoryTest, SendsToTheDiskWhatItHasNoRoomFor) {
  const auto store = make_store(0, {}, {.directory = testing::TempDir()});
  const Blob inside = seal_filled(*store, kMemoryBytes - kMiB, 7);
  const Blob outside = seal_filled(*store, 2 * kMiB, 8);
  EXPECT_TRUE(is_filled(inside, 7));
  EXPECT_TRUE(is_filled(outside, 8));
  EXPECT_EQ(store->usage().memory_bytes, kMemoryBytes - kMiB);
  EXPECT_EQ(store->usage().spilled_bytes, 2 * kMiB);
}

TEST_F(BlobMemoryTest, IsWaitedForWhileItIsFull) {
  std::optional<Blob> in_the_way;
  int attempt_count = 0;
  const auto bind = [&](std::span<std::byte>, Place) {
    if (++attempt_count == 3) {
      in_the_way.reset();
    }
    return Status();
  };
  const auto store = make_store(0, bind, {}, std::chrono::hours(1));
  in_the_way = seal_filled(*store, kMemoryBytes - kMiB, 7);
  const Blob waited = seal_filled(*store, 2 * kMiB, 8);
  EXPECT_TRUE(is_filled(waited, 8));
  EXPECT_EQ(attempt_count, 3);
}

TEST_F(BlobMemoryTest, IsNoLongerWaitedForThanIsSaid) {
  const auto store = make_store(0, {}, {}, std::chrono::milliseconds(1));
  const Blob in_the_way = seal_filled(*store, kMemoryBytes - kMiB, 7);
  const Result<BlobWriter> refused = store->create(2 * kMiB, kTestPlace);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.error().message()),
              testing::AllOf(HasSubstr("memory-wait-seconds"), HasSubstr("No space left")));
  EXPECT_TRUE(is_filled(in_the_way, 7));
}

// A page is entered by one fault, whatever its size: what is said to lie in huge ones takes few.
TEST_F(BlobMemoryTest, KnowsWhichPagesTheSystemHasGiven) {
  constexpr std::uint64_t kHugePages = 4;
  constexpr std::uint64_t kSize = kHugePages * 2 * kMiB;
  const auto writer = make_store(0);
  const auto reader = make_store(1);
  const Blob sealed = seal_filled(*writer, kSize, 11);
  const Blob small = seal_filled(*writer, kMiB, 12);
  const PageShare pages = agent_.table().pages_of(sealed.handle());
  EXPECT_EQ(pages.bytes, kSize + 64);
  EXPECT_LE(pages.huge_bytes, kSize);
  EXPECT_EQ(pages.huge_bytes % (2 * kMiB), 0u);
  EXPECT_EQ(agent_.table().pages_of(small.handle()).huge_bytes, 0u);
  const Blob opened = reader->open(sealed.handle()).value();
  const PageLook look = look_at_pages(opened.bytes());
  EXPECT_EQ(look.sum, 11 * kSize / 4096);
  if (pages.huge_bytes == kSize) {
    EXPECT_LE(look.fault_count, static_cast<long>(4 * kHugePages));
  }
  agent_.table().release(sealed.handle());
  EXPECT_EQ(agent_.table().pages_of(sealed.handle()).bytes, 0u);
}

TEST_F(BlobMemoryTest, BindsBeforeAnyMemoryIsTaken) {
  std::uint64_t free_when_bound = 0;
  const auto store = make_store(0, [&](std::span<std::byte>, Place) {
    free_when_bound = free_bytes();
    return Status();
  });
  const Blob blob = seal_filled(*store, kMiB, 9);
  EXPECT_EQ(free_when_bound, free_at_first_);
}

// The child has the file open for writing, and for ever as far as anybody knows.
TEST_F(BlobMemoryTest, IsNotNeededWhereAForkHasTakenTheRightToWriteAlong) {
  std::array<int, 2> ends = {};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  pid_t child = -1;
  const auto store = make_store(0, [&](std::span<std::byte>, Place) {
    child = ::fork();
    if (child == 0) {
      write_end.reset();
      char byte = 0;
      ::_exit(::read(read_end.get(), &byte, 1) == 0 ? 0 : 1);
    }
    return Status();
  });
  const Blob sealed = seal_filled(*store, kMiB, 10);
  EXPECT_TRUE(is_filled(sealed, 10));
  EXPECT_EQ(::fcntl(descriptor_of(sealed), F_GET_SEALS) & F_SEAL_WRITE, F_SEAL_WRITE);
  EXPECT_EQ(agent_.table().usage().memory_bytes, kMiB);
  write_end.reset();
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// A kill at any point of making blobs leaves at most a name of nothing.
TEST_F(BlobMemoryTest, LosesNoMemoryToProcessesThatAreKilled) {
  for (int round = 0; round < 40; ++round) {
    std::array<int, 2> ends = {};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto store = make_store(0);
      for (char turn = 0;; ++turn) {
        const Blob blob = seal_filled(*store, kMiB, 1);
        agent_.table().release(blob.handle());
        if (::write(write_end.get(), &turn, 1) != 1) {
          ::_exit(1);
        }
      }
    }
    for (int turn = 0; turn <= round % 8; ++turn) {
      char byte = 0;
      ASSERT_EQ(::read(read_end.get(), &byte, 1), 1);
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    ASSERT_EQ(free_bytes(), free_at_first_);
  }
}

}  // namespace
}  // namespace pinion
