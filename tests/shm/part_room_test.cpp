#include <pinion/shm/part_room.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shm/shared_blob_store.hpp>

namespace pinion {
namespace {

constexpr BlobStoreIdentity kIdentity = {.job = 7, .epoch = 2, .host = 1};

BlobHandle handle_on(std::uint32_t host, std::uint32_t epoch = 2) {
  return {.job = 7, .generation = 1, .length_bytes = 1'000'000, .epoch = epoch, .host = host};
}

BlobPart part_of_length(std::uint64_t length_bytes) {
  return {handle_on(2), 0, length_bytes};
}

TEST(PartRoom, LaysPartsOutInTheirOrder) {
  const std::vector<BlobPart> parts = {part_of_length(100), part_of_length(0), part_of_length(64),
                                       part_of_length(1)};
  const PartRoomLayout layout = PartRoomLayout::of(parts).value();
  EXPECT_THAT(layout.offsets, testing::ElementsAre(0, 128, 128, 192));
  EXPECT_EQ(layout.size_bytes, 256u);
}

TEST(PartRoom, RefusesPartsThatNobodyCanHave) {
  BlobPart huge = part_of_length(1);
  huge.blob.length_bytes = ~std::uint64_t{0};
  huge.length_bytes = huge.blob.length_bytes;
  for (const BlobPart& part : {huge, BlobPart{handle_on(2), 999'999, 2}}) {
    EXPECT_EQ(PartRoomLayout::of(std::span(&part, 1)).error().code(), ErrorCode::kInvalidArgument);
  }
}

TEST(PartRoom, RefusesMemoryWhoseSizeIsNotFinalOrAnother) {
  const std::vector<BlobPart> parts = {part_of_length(100)};
  const UniqueFd soft(::memfd_create("soft", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(soft.get(), 128), 0);
  EXPECT_EQ(write_into_part_room(soft.get(), parts).error().code(), ErrorCode::kInvalidArgument);
  const UniqueFd room = make_part_room(128).value();
  const std::vector<BlobPart> more = {part_of_length(100), part_of_length(100)};
  EXPECT_EQ(write_into_part_room(room.get(), more).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(::ftruncate(room.get(), 10), 0);
  const auto writers = write_into_part_room(room.get(), parts);
  ASSERT_TRUE(writers) << writers.error().to_string();
  EXPECT_EQ(writers->size(), 1u);
}

class StoreWithParts : public testing::Test {
 protected:
  // Fills each part with its number, when it is waited for.
  std::function<Status()> fill(std::span<const BlobPart> parts, int room) {
    asked_.assign(parts.begin(), parts.end());
    auto writers =
        std::make_shared<std::vector<BlobWriter>>(write_into_part_room(room, parts).value());
    return [this, writers] {
      for (std::size_t i = 0; i < writers->size(); ++i) {
        std::ranges::fill((*writers)[i].bytes(), std::byte(i + 1));
      }
      return outcome_;
    };
  }

  std::vector<BlobPart> asked_;
  Status outcome_;
  std::unique_ptr<IBlobStore> store_ =
      make_shared_blob_store({.identity = kIdentity,
                              .host_count = 3,
                              .memory = MemoryLedger({.budget_bytes = std::uint64_t{1} << 20})},
                             {.publish = [](const BlobHandle&, Place, int) { return Status(); },
                              .fetch = [](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
                                return Status(ErrorCode::kNotFound, "fetched whole");
                              },
                              .fetch_parts = [this](std::span<const BlobPart> parts,
                                                    int room) { return fill(parts, room); }});
};

TEST_F(StoreWithParts, AsksForTheBytesOfOtherHostsAndNoOthers) {
  const std::vector<BlobPart> parts = {
      {handle_on(2), 64, 5000}, {handle_on(2), 0, 0}, {handle_on(1, 1), 64, 70}};
  {
    const auto wait = store_->open_parts(parts);
    EXPECT_EQ(asked_, parts) << "they come before they are waited for";
    const Result<std::vector<Blob>> blobs = wait();
    ASSERT_TRUE(blobs) << blobs.error().to_string();
    ASSERT_EQ(blobs->size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      const auto bytes = (*blobs)[i].bytes();
      EXPECT_EQ((*blobs)[i].handle(), parts[i].blob);
      EXPECT_EQ(bytes.size(), parts[i].length_bytes);
      EXPECT_EQ(std::ranges::count(bytes, std::byte(i + 1)), std::ssize(bytes));
    }
    EXPECT_GE(store_->usage().memory_bytes, 5070u);
  }
  EXPECT_EQ(store_->usage().memory_bytes, 0u) << "what was read was given back";
}

TEST_F(StoreWithParts, GivesBackWhatNobodyWaitsFor) {
  static_cast<void>(store_->open_parts({{handle_on(2), 64, 5000}}));
  EXPECT_EQ(asked_.size(), 1u);
  EXPECT_EQ(store_->usage().memory_bytes, 0u);
}

TEST_F(StoreWithParts, OpensWhatIsHereWhole) {
  const auto wait = store_->open_parts({{handle_on(1), 64, 5000}});
  EXPECT_EQ(wait().error().message(), "fetched whole");
  EXPECT_TRUE(asked_.empty());
}

TEST_F(StoreWithParts, RefusesWhatIsNotInsideOrOfNoHost) {
  const auto error_of = [this](const BlobPart& part) {
    return store_->open_parts({part})().error().code();
  };
  EXPECT_EQ(error_of({handle_on(2), 999'999, 2}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of({handle_on(3), 0, 2}), ErrorCode::kFailedPrecondition);
  outcome_ = Status(ErrorCode::kUnavailable, "gone");
  EXPECT_EQ(error_of({handle_on(2), 0, 2}), ErrorCode::kUnavailable);
}

TEST(StoreWithoutRoomForParts, OpensTheWholeBlobs) {
  std::size_t asked_count = 0;
  const auto store = make_shared_blob_store(
      {.identity = kIdentity, .host_count = 3, .memory = MemoryLedger({.budget_bytes = 1000})},
      {.publish = [](const BlobHandle&, Place, int) { return Status(); },
       .fetch = [](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
         return Status(ErrorCode::kNotFound, "fetched whole");
       },
       .fetch_parts =
           [&](std::span<const BlobPart>, int) {
             ++asked_count;
             return [] { return Status(); };
           }});
  EXPECT_EQ(store->open_parts({{handle_on(2), 64, 5000}})().error().message(), "fetched whole");
  EXPECT_EQ(asked_count, 0u);
}

}  // namespace
}  // namespace pinion
