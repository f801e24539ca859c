#include <pinion/shm/segment_table.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include <gtest/gtest.h>

#include "shm_host.hpp"

namespace pinion {
namespace {

constexpr std::uint32_t kSegments = 16;
constexpr std::uint32_t kClient = 3;

struct Sealed {
  BlobHandle handle;
  Place home;
  UniqueFd descriptor;

  [[nodiscard]] UniqueFd duplicate() const {
    return UniqueFd(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, 0));
  }
};

// A sealed segment as a client's store hands it to the exchange.
Sealed make_sealed(std::uint32_t segment, std::uint64_t size_bytes) {
  Sealed sealed;
  const SegmentExchange exchange = {
      .publish =
          [&](const BlobHandle& handle, Place home, int descriptor) {
            sealed = {handle, home, UniqueFd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0))};
            return Status();
          },
      .fetch = [](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
        return Status(ErrorCode::kNotFound, "nothing is fetched here");
      }};
  const auto store = make_shared_blob_store({.identity = kTestIdentity,
                                             .first_segment = segment,
                                             .segment_count = 1,
                                             .memory = MemoryLedger({.budget_bytes = size_bytes})},
                                            exchange);
  EXPECT_TRUE(store->create(size_bytes, kTestPlace)->seal().has_value());
  return sealed;
}

Status publish(SegmentTable& table, std::uint32_t client, const Sealed& sealed) {
  return table.publish(client, sealed.handle, sealed.home, sealed.duplicate());
}

TEST(SegmentTable, FindsWhatWasPublished) {
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed sealed = make_sealed(table.first_segment(kClient), 1000);
  ASSERT_TRUE(publish(table, kClient, sealed).ok());

  const Result<std::pair<int, Place>> found = table.find(sealed.handle);
  ASSERT_TRUE(found.has_value()) << found.error().to_string();
  struct stat expected = {};
  struct stat actual = {};
  ASSERT_EQ(::fstat(sealed.descriptor.get(), &expected), 0);
  ASSERT_EQ(::fstat(found->first, &actual), 0);
  EXPECT_EQ(actual.st_ino, expected.st_ino);
  EXPECT_EQ(found->second, kTestPlace);
  EXPECT_EQ(table.usage().blob_count, 1u);
  EXPECT_EQ(table.usage().memory_bytes, 1000u);
}

TEST(SegmentTable, GivesEveryClientNumbersOfItsOwn) {
  const SegmentTable table(kTestIdentity, 1 << 16);
  EXPECT_EQ(table.first_segment(0), 0u);
  EXPECT_EQ(table.first_segment(1), 65536u);
  EXPECT_EQ(table.client_count_max(), 65536u);
  EXPECT_EQ(table.first_segment(65535), 0xffff0000u);
  EXPECT_DEATH(static_cast<void>(table.first_segment(65536)), "client_count_max");
}

TEST(SegmentTable, TakesOnlyNumbersOfTheClient) {
  SegmentTable table(kTestIdentity, kSegments);
  const std::uint32_t first = table.first_segment(kClient);
  for (const std::uint32_t segment : {first - 1, first + kSegments}) {
    EXPECT_EQ(publish(table, kClient, make_sealed(segment, 10)).code(),
              ErrorCode::kPermissionDenied);
  }
  for (const std::uint32_t segment : {first, first + kSegments - 1}) {
    EXPECT_TRUE(publish(table, kClient, make_sealed(segment, 10)).ok());
  }
  EXPECT_EQ(publish(table, 0xffffffffu, make_sealed(first + 1, 10)).code(),
            ErrorCode::kPermissionDenied);
}

TEST(SegmentTable, TakesANumberOnce) {
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed sealed = make_sealed(table.first_segment(kClient) + 4, 10);
  ASSERT_TRUE(publish(table, kClient, sealed).ok());
  EXPECT_EQ(publish(table, kClient, sealed).code(), ErrorCode::kAlreadyExists);
  table.release(sealed.handle);
  EXPECT_EQ(publish(table, kClient, sealed).code(), ErrorCode::kAlreadyExists);
  EXPECT_TRUE(publish(table, kClient, make_sealed(table.first_segment(kClient) + 3, 10)).ok());
}

TEST(SegmentTable, RefusesAHandleThatDoesNotFit) {
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed sealed = make_sealed(table.first_segment(kClient), 100);
  struct Change {
    std::string_view field;
    void (*apply)(BlobHandle&);
    ErrorCode code;
  };
  const std::array<Change, 7> changes = {{
      {"job", [](BlobHandle& h) { ++h.job; }, ErrorCode::kFailedPrecondition},
      {"generation", [](BlobHandle& h) { ++h.generation; }, ErrorCode::kFailedPrecondition},
      {"epoch", [](BlobHandle& h) { ++h.epoch; }, ErrorCode::kFailedPrecondition},
      {"host", [](BlobHandle& h) { ++h.host; }, ErrorCode::kFailedPrecondition},
      {"index", [](BlobHandle& h) { ++h.index; }, ErrorCode::kInvalidArgument},
      {"length", [](BlobHandle& h) { ++h.length_bytes; }, ErrorCode::kInvalidArgument},
      {"segment", [](BlobHandle& h) { ++h.segment; }, ErrorCode::kDataLoss},
  }};
  for (const Change& change : changes) {
    SCOPED_TRACE(change.field);
    BlobHandle changed = sealed.handle;
    change.apply(changed);
    const Status refused = table.publish(kClient, changed, sealed.home, sealed.duplicate());
    EXPECT_EQ(refused.code(), change.code) << refused.to_string();
  }
  // With its header such a blob would have 63 bytes in 64-bit arithmetic.
  BlobHandle huge = sealed.handle;
  huge.length_bytes = ~std::uint64_t{0};
  UniqueFd file(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(file.get(), 63), 0);
  ASSERT_EQ(
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL),
      0);
  EXPECT_EQ(table.publish(kClient, huge, sealed.home, std::move(file)).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(table.usage().blob_count, 0u);
  EXPECT_TRUE(publish(table, kClient, sealed).ok());
}

TEST(SegmentTable, RefusesAPlaceThatIsNotWhereTheBytesAre) {
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed sealed = make_sealed(table.first_segment(kClient), 100);
  const auto publish_at = [&](Place home) {
    return table.publish(kClient, sealed.handle, home, sealed.duplicate()).code();
  };
  EXPECT_EQ(publish_at({.kind = PlaceKind::kNuma, .index = 0, .host = 2}), ErrorCode::kDataLoss);
  EXPECT_EQ(publish_at({.kind = PlaceKind::kNuma, .index = 1, .host = 9}),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(publish_at({.kind = PlaceKind::kDevice, .index = 1, .host = 2}),
            ErrorCode::kInvalidArgument);
}

UniqueFd memfd_of(const Sealed& model, int seals) {
  UniqueFd file(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  std::vector<char> bytes(64 + model.handle.length_bytes);
  EXPECT_EQ(::pread(model.descriptor.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  EXPECT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  EXPECT_EQ(::fcntl(file.get(), F_ADD_SEALS, seals), 0);
  return file;
}

TEST(SegmentTable, RefusesASegmentThatIsNotSealed) {
  constexpr int kAll = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed sealed = make_sealed(table.first_segment(kClient), 100);
  for (const int missing : {kAll, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_SEAL}) {
    const Status refused =
        table.publish(kClient, sealed.handle, sealed.home, memfd_of(sealed, kAll & ~missing));
    EXPECT_EQ(refused.code(), ErrorCode::kFailedPrecondition) << refused.to_string();
  }
  EXPECT_TRUE(table.publish(kClient, sealed.handle, sealed.home, memfd_of(sealed, kAll)).ok());
}

TEST(SegmentTable, RefusesWhatIsNotAMemfd) {
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed sealed = make_sealed(table.first_segment(kClient), 100);
  std::string path = (std::filesystem::temp_directory_path() / "pinion-test-XXXXXX").string();
  const int file = ::mkstemp(path.data());
  ASSERT_GE(file, 0);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  for (const int descriptor : {-1, file, ::open("/dev/zero", O_RDWR | O_CLOEXEC)}) {
    const Status refused = table.publish(kClient, sealed.handle, sealed.home, UniqueFd(descriptor));
    EXPECT_EQ(refused.code(), ErrorCode::kFailedPrecondition) << refused.to_string();
  }
}

TEST(SegmentTable, FindsOutADescriptorOfAnotherBlob) {
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed first = make_sealed(table.first_segment(kClient), 100);
  const Sealed second = make_sealed(table.first_segment(kClient) + 1, 100);
  const Status refused = table.publish(kClient, first.handle, first.home, second.duplicate());
  EXPECT_EQ(refused.code(), ErrorCode::kDataLoss);
  EXPECT_NE(refused.message().find("segment 49"), std::string_view::npos) << refused.to_string();
}

TEST(SegmentTable, ClosesWhatItRefusesAndWhatItDrops) {
  const std::ptrdiff_t before = open_descriptor_count();
  {
    SegmentTable table(kTestIdentity, kSegments);
    {
      const Sealed sealed = make_sealed(table.first_segment(kClient), 10);
      EXPECT_FALSE(publish(table, kClient + 1, sealed).ok());
      EXPECT_TRUE(publish(table, kClient, sealed).ok());
      EXPECT_FALSE(publish(table, kClient, sealed).ok());
    }
    EXPECT_EQ(open_descriptor_count(), before + 1);
  }
  EXPECT_EQ(open_descriptor_count(), before);
}

TEST(SegmentTable, DropsWhatADeadClientLeftUnlessItIsKept) {
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed kept = make_sealed(table.first_segment(kClient), 10);
  const Sealed loose = make_sealed(table.first_segment(kClient) + 1, 20);
  const Sealed foreign = make_sealed(table.first_segment(kClient + 1), 40);
  ASSERT_TRUE(publish(table, kClient, kept).ok());
  ASSERT_TRUE(publish(table, kClient, loose).ok());
  ASSERT_TRUE(publish(table, kClient + 1, foreign).ok());
  ASSERT_TRUE(table.keep(kept.handle).ok());

  table.client_gone(kClient);

  EXPECT_TRUE(table.find(kept.handle).has_value());
  EXPECT_TRUE(table.find(foreign.handle).has_value());
  EXPECT_EQ(table.find(loose.handle).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(table.keep(loose.handle).code(), ErrorCode::kNotFound);
  EXPECT_EQ(table.usage().memory_bytes, 50u);
  const Sealed late = make_sealed(table.first_segment(kClient) + 2, 10);
  EXPECT_EQ(publish(table, kClient, late).code(), ErrorCode::kFailedPrecondition);

  table.release(kept.handle);
  EXPECT_EQ(table.find(kept.handle).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(table.usage().blob_count, 1u);
}

// A client that publishes and one that fetches have a reference each.
TEST(SegmentTable, DropsWhatNobodyHasAndTheJobDoesNotKeep) {
  SegmentTable table(kTestIdentity, kSegments);
  constexpr std::uint32_t kReader = kClient + 1;
  const Sealed shared = make_sealed(table.first_segment(kClient), 10);
  const Sealed kept = make_sealed(table.first_segment(kClient) + 1, 20);
  for (const Sealed* sealed : {&shared, &kept}) {
    ASSERT_TRUE(publish(table, kClient, *sealed).ok());
    ASSERT_TRUE(table.fetch(kReader, sealed->handle).has_value());
    ASSERT_TRUE(table.fetch(kReader, sealed->handle).has_value());
  }
  ASSERT_TRUE(table.keep(kept.handle).ok());
  for (const Sealed* sealed : {&shared, &kept}) {
    table.let_go(kClient, sealed->handle);
    table.let_go(kClient, sealed->handle);  // Has none any more.
    table.let_go(kReader, sealed->handle);
    EXPECT_TRUE(table.find(sealed->handle).has_value());
    table.let_go(kReader, sealed->handle);
  }
  EXPECT_EQ(table.find(shared.handle).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(table.find(kept.handle).has_value());
  EXPECT_EQ(table.usage().memory_bytes, 20u);
  EXPECT_EQ(publish(table, kClient, shared).code(), ErrorCode::kAlreadyExists);
}

TEST(SegmentTable, TakesTheReferencesOfADeadReader) {
  SegmentTable table(kTestIdentity, kSegments);
  constexpr std::uint32_t kReader = kClient + 1;
  const Sealed sealed = make_sealed(table.first_segment(kClient), 10);
  ASSERT_TRUE(publish(table, kClient, sealed).ok());
  ASSERT_TRUE(table.fetch(kReader, sealed.handle).has_value());
  table.let_go(kClient, sealed.handle);
  EXPECT_TRUE(table.find(sealed.handle).has_value());
  table.client_gone(kReader);
  EXPECT_EQ(table.find(sealed.handle).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(table.usage().memory_bytes, 0u);
}

TEST(SegmentTable, GivesADeadClientNothing) {
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed sealed = make_sealed(table.first_segment(kClient), 10);
  ASSERT_TRUE(publish(table, kClient, sealed).ok());
  table.client_gone(kClient + 1);
  EXPECT_EQ(table.fetch(kClient + 1, sealed.handle).error().code(), ErrorCode::kFailedPrecondition);
}

TEST(SegmentTable, IgnoresLettingGoByAHandleThatDoesNotMatch) {
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed sealed = make_sealed(table.first_segment(kClient), 10);
  ASSERT_TRUE(publish(table, kClient, sealed).ok());
  for (BlobHandle stale : {sealed.handle, sealed.handle, sealed.handle}) {
    ++stale.length_bytes;
    table.let_go(kClient, stale);
  }
  table.let_go(kClient + 1, sealed.handle);
  EXPECT_TRUE(table.find(sealed.handle).has_value());
}

TEST(SegmentTable, IgnoresTheReleaseOfAHandleThatDoesNotMatch) {
  SegmentTable table(kTestIdentity, kSegments);
  const Sealed sealed = make_sealed(table.first_segment(kClient), 10);
  ASSERT_TRUE(publish(table, kClient, sealed).ok());
  BlobHandle stale = sealed.handle;
  ++stale.generation;
  table.release(stale);
  EXPECT_TRUE(table.find(sealed.handle).has_value());
  EXPECT_EQ(table.usage().memory_bytes, 10u);
}

}  // namespace
}  // namespace pinion
