#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shm/local_blob_store.hpp>

#include "shm_host.hpp"
#include "small_disk.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

LocalBlobStore make_store(const SpillOptions& spill, std::uint64_t memory_bytes = kMiB) {
  return LocalBlobStore(kTestIdentity, MemoryLedger({.budget_bytes = memory_bytes}), BindMemory(),
                        spill);
}

Blob seal_filled(IBlobStore& store, std::uint64_t size_bytes, unsigned value) {
  Result<BlobWriter> writer = store.create(size_bytes, kTestPlace);
  EXPECT_TRUE(writer.has_value()) << writer.error().to_string();
  std::ranges::fill(writer->bytes(), std::byte(value));
  return std::move(writer->seal()).value();
}

bool is_filled(const Blob& blob, unsigned value) {
  return std::ranges::all_of(blob.bytes(),
                             [=](std::byte byte) { return byte == std::byte(value); });
}

std::size_t name_count(const std::string& directory) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory),
                                                std::filesystem::directory_iterator()));
}

TEST(Spill, TakesWhatTheMemoryHasNoRoomForAndSaysSo) {
  std::vector<std::uint64_t> told;
  LocalBlobStore store =
      make_store({.directory = testing::TempDir(),
                  .bytes_max = 4 * kMiB,
                  .on_spill = [&](std::uint64_t bytes) { told.push_back(bytes); }});
  {
    std::vector<Blob> blobs;
    for (unsigned i = 0; i < 5; ++i) {
      blobs.push_back(seal_filled(store, kMiB, i + 1));
    }
    for (unsigned i = 0; i < 5; ++i) {
      EXPECT_TRUE(is_filled(blobs[i], i + 1));
      EXPECT_TRUE(is_filled(store.open(blobs[i].handle()).value(), i + 1));
    }
    EXPECT_EQ(store.usage().memory_bytes, kMiB);
    EXPECT_EQ(store.usage().spilled_bytes, 4 * kMiB);
    EXPECT_EQ(told, std::vector<std::uint64_t>(4, kMiB));

    const Result<BlobWriter> refused = store.create(2, kTestPlace);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
    for (const std::string& part : {std::string("spill-bytes-max"), testing::TempDir(),
                                    std::to_string(4 * kMiB), std::string("blobs uses 1048576")}) {
      EXPECT_THAT(std::string(refused.error().message()), HasSubstr(part));
    }
  }
  EXPECT_EQ(store.usage().spilled_bytes, 0u);
  EXPECT_EQ(store.usage().blob_count, 0u);
  // With room in memory again, memory is used.
  const Blob blob = seal_filled(store, kMiB, 9);
  EXPECT_EQ(store.usage().memory_bytes, kMiB);
}

TEST(Spill, LeavesNoNameAndNoDescriptor) {
  const TemporaryFolder folder;
  const std::string directory = folder.path();
  const std::ptrdiff_t before = open_descriptor_count();
  {
    LocalBlobStore store = make_store({.directory = directory}, 0);
    Result<BlobWriter> writer = store.create(kMiB, kTestPlace);
    ASSERT_TRUE(writer.has_value()) << writer.error().to_string();
    EXPECT_EQ(name_count(directory), 0u);
    const Blob sealed = writer->seal().value();
    EXPECT_EQ(name_count(directory), 0u);
    EXPECT_EQ(open_descriptor_count(), before);
  }
  EXPECT_EQ(open_descriptor_count(), before);
}

TEST(Spill, NamesADirectoryThatCannotBeUsed) {
  for (const std::string directory : {"/nowhere/at/all", "/proc"}) {
    LocalBlobStore store = make_store({.directory = directory}, 0);
    const Result<BlobWriter> refused = store.create(1, kTestPlace);
    ASSERT_FALSE(refused.has_value());
    EXPECT_THAT(std::string(refused.error().message()), HasSubstr(directory));
    EXPECT_EQ(store.usage().spilled_bytes, 0u);
  }
}

TEST(Spill, TellsDirectoriesInMemory) {
  EXPECT_TRUE(is_in_memory("/dev/shm"));
  EXPECT_FALSE(is_in_memory("/proc"));
  EXPECT_FALSE(is_in_memory("/nowhere/at/all"));
}

// Runs in a child: the mount is seen by nobody else and ends with it.
int fill_a_small_disk(const char* directory) {
  LocalBlobStore store = make_store({.directory = directory}, 0);
  struct statvfs before = {};
  struct statvfs after = {};
  statvfs(directory, &before);
  const Result<BlobWriter> refused = store.create(8 * kMiB, kTestPlace);
  statvfs(directory, &after);
  const bool said = !refused && refused.error().code() == ErrorCode::kResourceExhausted &&
                    refused.error().message().find(directory) != std::string_view::npos &&
                    refused.error().message().find("spill-directory") != std::string_view::npos;
  if (!said) {
    return 2;
  }
  if (after.f_bfree != before.f_bfree || store.usage().spilled_bytes != 0) {
    return 3;
  }
  return is_filled(seal_filled(store, kMiB, 7), 7) ? 0 : 4;
}

TEST(Spill, SaysThatTheDiskIsFullAndLeavesNothing) {
  constexpr int kCannotMount = 100;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const char* const directory = "/mnt";
    ::_exit(mount_small_disk(directory, "4m") ? fill_a_small_disk(directory) : kCannotMount);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kCannotMount) {
    GTEST_SKIP() << "no right to mount a small file system to fill";
  }
  EXPECT_EQ(WEXITSTATUS(status), 0) << "2: wrong words, 3: something is left, 4: unusable after";
}

// What a careless or hostile rank could publish instead of a finished file.
class SpilledSegment : public testing::Test {
 protected:
  SpilledSegment() : store_(make()) { sealed_ = seal_filled(*store_, 1000, 5); }

  std::unique_ptr<IBlobStore> make() {
    SharedBlobStoreOptions options = agent_.options(5, 0);
    options.spill = {.directory = testing::TempDir()};
    return make_shared_blob_store(
        options, {.publish =
                      [this](const BlobHandle&, Place, int descriptor) {
                        file_ = UniqueFd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
                        return Status();
                      },
                  .fetch = [](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
                    return Status(ErrorCode::kNotFound, "nobody fetches here");
                  }});
  }

  UniqueFd reopened(int flags) const {
    return UniqueFd(
        ::open(("/proc/self/fd/" + std::to_string(file_.get())).c_str(), flags | O_CLOEXEC));
  }

  Status publish(UniqueFd file) {
    return agent_.table().publish(5, sealed_.handle(), kTestPlace, std::move(file));
  }

  TableAgent agent_{16};
  UniqueFd file_;
  std::unique_ptr<IBlobStore> store_;
  Blob sealed_;
};

TEST_F(SpilledSegment, IsTakenAndCountedApartFromMemory) {
  ASSERT_TRUE(publish(reopened(O_RDONLY)).ok());
  EXPECT_EQ(agent_.table().usage().spilled_bytes, 1000u);
  EXPECT_EQ(agent_.table().usage().memory_bytes, 0u);
  agent_.table().release(sealed_.handle());
  EXPECT_EQ(agent_.table().usage().spilled_bytes, 0u);
}

TEST_F(SpilledSegment, IsRefusedWhileSomebodyCanWrite) {
  ASSERT_EQ(::fchmod(file_.get(), 0600), 0);
  EXPECT_EQ(publish(reopened(O_RDONLY)).code(), ErrorCode::kFailedPrecondition);
  UniqueFd writer = reopened(O_RDWR);
  ASSERT_TRUE(writer.valid());
  ASSERT_EQ(::fchmod(file_.get(), 0400), 0);
  const Status refused = publish(reopened(O_RDONLY));
  EXPECT_EQ(refused.code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("open for writing"));
  EXPECT_EQ(publish(std::move(writer)).code(), ErrorCode::kFailedPrecondition);
  EXPECT_TRUE(publish(reopened(O_RDONLY)).ok());
}

TEST_F(SpilledSegment, IsRefusedWithAName) {
  const TemporaryFolder folder;
  const std::string path = folder / "named";
  UniqueFd made(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  std::vector<char> bytes(1064);
  ASSERT_EQ(::pread(file_.get(), bytes.data(), bytes.size(), 0), 1064);
  ASSERT_EQ(::write(made.get(), bytes.data(), bytes.size()), 1064);
  ASSERT_EQ(::fchmod(made.get(), 0400), 0);
  made = UniqueFd();
  UniqueFd named(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd twin(::fcntl(named.get(), F_DUPFD_CLOEXEC, 0));
  EXPECT_THAT(std::string(publish(std::move(named)).message()), HasSubstr("it has a name"));
  std::filesystem::remove(path);
  EXPECT_TRUE(publish(UniqueFd(::fcntl(twin.get(), F_DUPFD_CLOEXEC, 0))).ok());
}

}  // namespace
}  // namespace pinion
