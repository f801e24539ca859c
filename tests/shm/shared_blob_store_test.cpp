#include <pinion/shm/shared_blob_store.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "shm_host.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kBudget = std::uint64_t{1} << 20;

Blob seal_text(IBlobStore& store, std::string_view text) {
  Result<BlobWriter> writer = store.create(text.size(), kTestPlace);
  EXPECT_TRUE(writer.has_value()) << writer.error().to_string();
  std::memcpy(writer->bytes().data(), text.data(), text.size());
  Result<Blob> blob = writer->seal();
  EXPECT_TRUE(blob.has_value()) << blob.error().to_string();
  return *std::move(blob);
}

std::string_view text_of(const Blob& blob) {
  return {reinterpret_cast<const char*>(blob.bytes().data()), blob.bytes().size()};
}

std::size_t page_bytes() {
  return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// The memory behind the one segment that this process has open as a file.
std::size_t reserved_bytes() {
  std::size_t found_bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    struct stat file = {};
    if (target.find("memfd:pinion-blob") != std::string::npos &&
        ::stat(entry.path().c_str(), &file) == 0) {
      found_bytes += static_cast<std::size_t>(file.st_blocks) * 512;
    }
  }
  return found_bytes;
}

TEST(SharedBlobStore, FetchesABlobOnceWhileItLives) {
  TableAgent agent(16);
  const auto writer = agent.make_store(0, kBudget);
  const auto reader = agent.make_store(1, kBudget);
  const Blob sealed = seal_text(*writer, "text");
  {
    const Result<Blob> first = reader->open(sealed.handle());
    const Result<Blob> second = reader->open(sealed.handle());
    ASSERT_TRUE(first.has_value() && second.has_value());
    EXPECT_EQ(first->bytes().data(), second->bytes().data());
    EXPECT_NE(first->bytes().data(), sealed.bytes().data());
    EXPECT_EQ(agent.fetch_count(), 1);
  }
  EXPECT_EQ(text_of(*reader->open(sealed.handle())), "text");
  EXPECT_EQ(agent.fetch_count(), 2);
  EXPECT_EQ(writer->open(sealed.handle())->bytes().data(), sealed.bytes().data());
  EXPECT_EQ(agent.fetch_count(), 2);
}

TEST(SharedBlobStore, ChargesReadersNothing) {
  TableAgent agent(16);
  const auto writer = agent.make_store(0, kBudget);
  const auto reader = agent.make_store(1, 3);
  const Blob sealed = seal_text(*writer, "more than three bytes");
  EXPECT_EQ(text_of(*reader->open(sealed.handle())), "more than three bytes");
  EXPECT_EQ(reader->usage().memory_bytes, 0u);
}

TEST(SharedBlobStore, NumbersItsSegmentsFromTheFirstToTheLast) {
  TableAgent agent(2);
  const auto store = agent.make_store(7, kBudget);
  EXPECT_EQ(seal_text(*store, "a").handle().segment, 14u);
  { const Result<BlobWriter> dropped = store->create(10, kTestPlace); }
  EXPECT_EQ(seal_text(*store, "b").handle().segment, 15u);
  const Result<Blob> refused = store->create(1, kTestPlace)->seal();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
}

TEST(SharedBlobStore, HasNoBlobWhenPublishingFails) {
  TableAgent agent(16);
  SegmentExchange exchange = agent.exchange(0);
  bool fails = true;
  exchange.publish = [&, publish = exchange.publish](const BlobHandle& handle, Place home,
                                                     int descriptor) {
    return fails ? Status(ErrorCode::kUnavailable, "the agent is gone")
                 : publish(handle, home, descriptor);
  };
  const auto store = make_shared_blob_store(agent.options(0, kBudget), exchange);
  const std::ptrdiff_t descriptors = open_descriptor_count();
  const Result<Blob> failed = store->create(100, kTestPlace)->seal();
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(store->usage().blob_count, 0u);
  EXPECT_EQ(open_descriptor_count(), descriptors);

  // The number of the one that failed may be known to the agent: it is not used again.
  fails = false;
  EXPECT_EQ(seal_text(*store, "text").handle().segment, 1u);
}

TEST(SharedBlobStore, HoldsNoDescriptorForASealedBlob) {
  TableAgent agent(64);
  const std::ptrdiff_t before = open_descriptor_count();
  const auto writer = agent.make_store(0, kBudget);
  const auto reader = agent.make_store(1, kBudget);
  std::vector<Blob> blobs;
  for (int i = 0; i < 10; ++i) {
    blobs.push_back(seal_text(*writer, "text"));
    blobs.push_back(*reader->open(blobs.back().handle()));
  }
  EXPECT_EQ(open_descriptor_count(), before + 10);  // The table's.
  agent.table().client_gone(0);
  EXPECT_EQ(open_descriptor_count(), before);
  EXPECT_EQ(text_of(blobs.front()), "text");
  EXPECT_EQ(text_of(blobs.back()), "text");
}

TEST(SharedBlobStore, CannotBeWrittenThroughADescriptorOrAMapping) {
  TableAgent agent(16);
  const auto store = agent.make_store(0, kBudget);
  const Blob sealed = seal_text(*store, "text");
  const int descriptor = agent.table().find(sealed.handle())->first;

  EXPECT_EQ(::mmap(nullptr, 100, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), MAP_FAILED);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::pwrite(descriptor, "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(descriptor, 10), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(descriptor, 1000), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(errno, EPERM);
  void* const page = const_cast<std::byte*>(sealed.bytes().data() - 64);
  EXPECT_EQ(::mprotect(page, page_bytes(), PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(text_of(sealed), "text");
}

TEST(SharedBlobStore, ReservesItsMemoryBeforeAnybodyWrites) {
  TableAgent agent(16);
  const auto store = agent.make_store(0, kBudget);
  Result<BlobWriter> writer = store->create(10 * page_bytes() - 64, kTestPlace);
  ASSERT_TRUE(writer.has_value());
  EXPECT_EQ(reserved_bytes(), 10 * page_bytes());
}

TEST(SharedBlobStore, BindsWholePagesBeforeTheyAreTouched) {
  TableAgent agent(16);
  SharedBlobStoreOptions options = agent.options(0, kBudget);
  int call_count = 0;
  options.bind_memory = [&](std::span<std::byte> bytes, Place place) {
    ++call_count;
    EXPECT_EQ(place, kTestPlace);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % page_bytes(), 0u);
    EXPECT_GE(bytes.size(), 3 * page_bytes());
    EXPECT_EQ(reserved_bytes(), 0u);
    return Status();
  };
  const auto store = make_shared_blob_store(options, agent.exchange(0));
  Result<BlobWriter> writer = store->create(3 * page_bytes(), kTestPlace);
  ASSERT_TRUE(writer.has_value()) << writer.error().to_string();
  EXPECT_EQ(call_count, 1);
  EXPECT_EQ(reserved_bytes(), 4 * page_bytes());
}

TEST(SharedBlobStore, TouchesItsMemoryByAsManyThreadsAsThereAre) {
  if (::madvise(nullptr, 0, MADV_POPULATE_WRITE) != 0) {
    GTEST_SKIP() << "this system enters pages only when they are written";
  }
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  TableAgent agent(16);
  SharedBlobStoreOptions options = agent.options(0, 100 * kMiB);
  std::vector<std::size_t> counts;
  options.for_each_at = [&](Place place, std::size_t count, const auto& body) {
    EXPECT_EQ(place, kTestPlace);
    counts.push_back(count);
    std::thread other([&] {
      for (std::size_t i = 1; i < count; i += 2) {
        body(i);
      }
    });
    for (std::size_t i = 0; i < count; i += 2) {
      body(i);
    }
    other.join();
  };
  const auto store = make_shared_blob_store(options, agent.exchange(0));
  for (const std::uint64_t size_bytes : {kMiB, 20 * kMiB}) {
    Result<BlobWriter> writer = store->create(size_bytes, kTestPlace);
    ASSERT_TRUE(writer.has_value());
    const PageLook look = look_at_pages(writer->bytes());
    EXPECT_EQ(look.sum, 0u);
    EXPECT_LE(look.fault_count, 4);  // Of the 256 and more pages.
  }
  EXPECT_EQ(counts, (std::vector<std::size_t>{3}));
}

TEST(SharedBlobStore, ReportsAPlaceThatCannotBeBound) {
  TableAgent agent(16);
  SharedBlobStoreOptions options = agent.options(0, kBudget);
  options.bind_memory = [](std::span<std::byte>, Place) {
    return Status(ErrorCode::kInvalidArgument, "no such place");
  };
  const auto store = make_shared_blob_store(options, agent.exchange(0));
  const std::ptrdiff_t descriptors = open_descriptor_count();
  const Result<BlobWriter> writer = store->create(10, kTestPlace);
  ASSERT_FALSE(writer.has_value());
  EXPECT_EQ(writer.error().message(), "no such place");
  EXPECT_EQ(store->usage().memory_bytes, 0u);
  EXPECT_EQ(open_descriptor_count(), descriptors);
}

TEST(SharedBlobStore, ReportsThatTheProcessMayOpenNoMoreFiles) {
  TableAgent agent(16);
  const auto store = agent.make_store(0, kBudget);
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const Result<BlobWriter> writer = store->create(10, kTestPlace);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(writer.has_value());
  EXPECT_EQ(writer.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(store->usage().blob_count, 0u);
}

// A store whose exchange answers with whatever the test puts there.
class MisledBlobStore : public ::testing::Test {
 protected:
  MisledBlobStore() {
    reader_ = make_shared_blob_store(
        agent_.options(1, kBudget),
        {.publish = [](const BlobHandle&, Place, int) { return Status(); },
         .fetch = [this](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
           return std::pair(std::move(answer_), answer_place_);
         }});
  }

  UniqueFd descriptor_of(const Blob& blob) {
    return UniqueFd(::fcntl(agent_.table().find(blob.handle())->first, F_DUPFD_CLOEXEC, 0));
  }

  ErrorCode open_code(const BlobHandle& handle) {
    const Result<Blob> opened = reader_->open(handle);
    return opened ? ErrorCode::kOk : opened.error().code();
  }

  TableAgent agent_{16};
  std::unique_ptr<IBlobStore> writer_ = agent_.make_store(0, kBudget);
  std::unique_ptr<IBlobStore> reader_;
  UniqueFd answer_;
  Place answer_place_ = kTestPlace;
};

TEST_F(MisledBlobStore, RefusesASegmentOfAnotherBlob) {
  const Blob wanted = seal_text(*writer_, "wanted");
  const Blob other = seal_text(*writer_, "others");
  answer_ = descriptor_of(other);
  EXPECT_EQ(open_code(wanted.handle()), ErrorCode::kDataLoss);
  answer_ = descriptor_of(wanted);
  EXPECT_EQ(open_code(wanted.handle()), ErrorCode::kOk);
}

TEST_F(MisledBlobStore, RefusesASegmentOfAnotherLength) {
  const Blob wanted = seal_text(*writer_, "wanted");
  const Blob shorter = seal_text(*writer_, "short");
  answer_ = descriptor_of(shorter);
  EXPECT_EQ(open_code(wanted.handle()), ErrorCode::kInvalidArgument);
}

TEST_F(MisledBlobStore, RefusesASegmentAtAnotherPlace) {
  const Blob wanted = seal_text(*writer_, "wanted");
  answer_ = descriptor_of(wanted);
  ++answer_place_.index;
  EXPECT_EQ(open_code(wanted.handle()), ErrorCode::kDataLoss);
}

TEST_F(MisledBlobStore, NeverReadsASegmentThatIsNotSealed) {
  const Blob wanted = seal_text(*writer_, "wanted");
  std::vector<char> image(64 + 6);
  ASSERT_EQ(::pread(descriptor_of(wanted).get(), image.data(), image.size(), 0), 70);
  answer_ = UniqueFd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::pwrite(answer_.get(), image.data(), image.size(), 0), 70);
  EXPECT_EQ(open_code(wanted.handle()), ErrorCode::kFailedPrecondition);
}

TEST_F(MisledBlobStore, RefusesNoDescriptorAndForeignFiles) {
  const Blob wanted = seal_text(*writer_, "wanted");
  answer_ = UniqueFd();
  EXPECT_EQ(open_code(wanted.handle()), ErrorCode::kFailedPrecondition);
  answer_ = UniqueFd(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(open_code(wanted.handle()), ErrorCode::kFailedPrecondition);
}

}  // namespace
}  // namespace pinion
