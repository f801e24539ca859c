#include <pinion/shm/segment_table.hpp>

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <functional>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/thread_annotations.hpp>

#include "memory_mapping.hpp"
#include "padded_text.hpp"
#include "shm_host.hpp"
#include "slab_layout.hpp"

// The agent's side of slabs: who may have what, and what a client that dies leaves.

namespace pinion {
namespace {

constexpr std::uint64_t kBudget = std::uint64_t{64} << 20;
constexpr std::uint32_t kWriter = 3;
constexpr std::uint32_t kReader = 4;

ErrorCode code_of(const Result<Blob>& opened) {
  return opened ? ErrorCode::kOk : opened.error().code();
}

TEST(SlabTable, GivesSlabsToWhomItKnows) {
  SegmentTable table(kTestIdentity, 16);
  const auto code = [&](std::uint32_t client, std::uint32_t segment, Place home,
                        std::uint64_t size_bytes) {
    const Result<SlabView> slab = table.make_slab(client, segment, home, size_bytes);
    return slab ? ErrorCode::kOk : slab.error().code();
  };
  const std::uint32_t first = table.first_segment(kWriter);
  EXPECT_EQ(code(kWriter, first, kTestPlace, 1 << 20), ErrorCode::kFailedPrecondition);
  ASSERT_TRUE(table.admit(kWriter).has_value());
  EXPECT_EQ(code(kWriter, first - 1, kTestPlace, 1 << 20), ErrorCode::kPermissionDenied);
  EXPECT_EQ(code(kWriter, first, {.kind = PlaceKind::kNuma, .index = 0, .host = 9}, 1 << 20),
            ErrorCode::kInvalidArgument);
  for (const std::uint64_t size : {std::uint64_t{0}, kSlabControlBytes, std::uint64_t{1} << 40,
                                   (std::uint64_t{1} << 20) + 1}) {
    EXPECT_EQ(code(kWriter, first, kTestPlace, size), ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(code(kWriter, first, kTestPlace, 1 << 20), ErrorCode::kOk);
  EXPECT_EQ(code(kWriter, first, kTestPlace, 1 << 20), ErrorCode::kAlreadyExists);
  EXPECT_EQ(table.usage().memory_bytes, std::uint64_t{1} << 20);
  table.client_gone(kWriter);
  EXPECT_EQ(code(kWriter, first + 1, kTestPlace, 1 << 20), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(table.usage().memory_bytes, 0u);
}

TEST(SlabTable, LimitsTheSlabsOfAClient) {
  SegmentTable table(kTestIdentity, 16, 3 << 20);
  for (const std::uint32_t client : {0u, 1u}) {
    ASSERT_TRUE(table.admit(client).has_value());
    const std::uint32_t first = table.first_segment(client);
    EXPECT_TRUE(table.make_slab(client, first, kTestPlace, 2 << 20).has_value());
    const Result<SlabView> refused = table.make_slab(client, first + 1, kTestPlace, 2 << 20);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
    table.give_back_slab(1 - client, first);
    EXPECT_FALSE(table.make_slab(client, first + 1, kTestPlace, 2 << 20).has_value());
    table.give_back_slab(client, first);
    EXPECT_TRUE(table.make_slab(client, first + 1, kTestPlace, 2 << 20).has_value());
  }
}

// Each life of a rank is a client: their slots and the slots of their slabs are used again.
TEST(SlabTable, ServesManyLives) {
  SegmentTable table(kTestIdentity, 4);
  for (std::uint32_t client = 0; client < 2000; ++client) {
    ASSERT_TRUE(table.admit(client).has_value());
    ASSERT_TRUE(
        table.make_slab(client, table.first_segment(client), kTestPlace, 1 << 20).has_value());
    table.client_gone(client);
  }
  EXPECT_EQ(table.usage().memory_bytes, 0u);
}

TEST(SlabTable, HasRoomForSoManyClientsAtOneTime) {
  SegmentTable table(kTestIdentity, 4);
  for (std::uint32_t client = 0; client < kClientSlotCount; ++client) {
    ASSERT_TRUE(table.admit(client).has_value());
  }
  const Result<int> refused = table.admit(kClientSlotCount);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message().find("512 processes with references"),
            std::string_view::npos);
  table.client_gone(7);
  EXPECT_TRUE(table.admit(kClientSlotCount).has_value());
}

TEST(SlabTable, MakesNoSlabThatTheSystemHasNoMemoryFor) {
  std::uint64_t available_bytes = std::uint64_t{33} << 20;
  SegmentTable table(kTestIdentity, 4, std::uint64_t{1} << 30, [&] { return available_bytes; });
  ASSERT_TRUE(table.admit(0).has_value());
  const Result<SlabView> refused = table.make_slab(0, 0, kTestPlace, 4 << 20);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message().find("more than the system has to give"),
            std::string_view::npos);
  EXPECT_EQ(table.usage().memory_bytes, 0u);
  available_bytes = std::uint64_t{1} << 30;
  EXPECT_TRUE(table.make_slab(0, 0, kTestPlace, 4 << 20).has_value());
}

class SlabsOfAHost : public testing::Test {
 protected:
  SegmentTable& table() { return agent_.table(); }

  std::uint64_t reference_count() {
    std::uint64_t count = 0;
    for (const SegmentState& state : table().snapshot()) {
      count += state.reference_count;
    }
    return count;
  }

  TableAgent agent_{1 << 16};
  std::unique_ptr<IBlobStore> writer_ = agent_.make_slab_store(kWriter, kBudget);
  std::unique_ptr<IBlobStore> reader_ = agent_.make_slab_store(kReader, kBudget);
};

class DeadClient : public SlabsOfAHost {};

TEST_F(DeadClient, LeavesWhatIsKeptAndNothingElse) {
  const Blob kept = seal_padded_text(*writer_, "kept");
  const Blob loose = seal_padded_text(*writer_, "loose");
  const Blob read = seal_padded_text(*writer_, "read");
  const Result<Blob> opened = reader_->open(read.handle());
  ASSERT_TRUE(opened.has_value());
  ASSERT_TRUE(table().keep(kept.handle()).ok());
  ASSERT_TRUE(table().keep(kept.handle()).ok());

  table().client_gone(kWriter);

  EXPECT_EQ(padded_text_of(*reader_->open(kept.handle())), "kept");
  EXPECT_EQ(code_of(reader_->open(loose.handle())), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(reader_->open(read.handle())), ErrorCode::kNotFound);
  EXPECT_EQ(padded_text_of(*opened), "read");
  EXPECT_EQ(table().keep(loose.handle()).code(), ErrorCode::kNotFound);
  const auto late = agent_.make_slab_store(8, kBudget);
  EXPECT_EQ(padded_text_of(*late->open(kept.handle())), "kept");
  EXPECT_EQ(table().usage().blob_count, 1u);

  table().release(kept.handle());
  EXPECT_EQ(code_of(reader_->open(kept.handle())), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(late->open(kept.handle())), ErrorCode::kNotFound);
  EXPECT_TRUE(table().snapshot().empty());
  EXPECT_EQ(table().usage().memory_bytes, 0u);
  EXPECT_EQ(padded_text_of(*opened), "read");
}

TEST_F(DeadClient, LeavesNoReference) {
  std::vector<Blob> opened;
  for (int i = 0; i < 10; ++i) {
    const Blob blob = seal_padded_text(*writer_, "text", kSlabBlobBytesMax / 2);
    opened.push_back(*reader_->open(blob.handle()));
  }
  EXPECT_EQ(reference_count(), 10u);
  table().client_gone(kReader);
  EXPECT_EQ(reference_count(), 0u);
  // The writer has their memory again.
  const int requests = agent_.slab_request_count();
  std::vector<Blob> blobs;
  for (int i = 0; i < 10; ++i) {
    blobs.push_back(seal_padded_text(*writer_, "text", kSlabBlobBytesMax / 2));
  }
  EXPECT_EQ(agent_.slab_request_count(), requests);
}

// A row that the writer has mapped belongs to a client, not to its place among the living.
TEST_F(DeadClient, IsNotTakenForTheOneThatComesAfterIt) {
  std::optional<Blob> blob = seal_padded_text(*writer_, "first");
  std::optional<Blob> opened = *reader_->open(blob->handle());
  blob.reset();
  std::vector<Blob> filled;
  while (agent_.slab_request_count() == 1) {  // Until the writer has looked at the reader's row.
    filled.push_back(seal_padded_text(*writer_, "text", kSlabBlobBytesMax));
  }
  table().client_gone(kReader);
  const auto second = agent_.make_slab_store(9, kBudget);
  std::optional<Blob> next = seal_padded_text(*writer_, "second");
  const Blob read = *second->open(next->handle());
  next.reset();
  for (int i = 0; i < 3000; ++i) {
    EXPECT_NE(seal_padded_text(*writer_, "other").bytes().data(), nullptr);
  }
  EXPECT_EQ(padded_text_of(read), "second");
  EXPECT_EQ(code_of(second->open(read.handle())), ErrorCode::kOk);
}

// What a writer makes of its own slab reaches nobody's other memory.
TEST_F(DeadClient, MayHaveWrittenAnythingIntoItsSlab) {
  ASSERT_TRUE(table().admit(11).has_value());
  const std::uint32_t segment = table().first_segment(11);
  const Result<SlabView> view = table().make_slab(11, segment, kTestPlace, 1 << 20);
  ASSERT_TRUE(view.has_value());
  const Result<MemoryMapping> mapped = MemoryMapping::create_shared(view->descriptor, 1 << 20);
  ASSERT_TRUE(mapped.has_value());
  auto* const descriptors =
      reinterpret_cast<SlabDescriptor*>(mapped->bytes().data() + kSlabPageBytes);
  const BlobHandle handle = {.job = kTestIdentity.job,
                             .generation = 1,
                             .length_bytes = 100,
                             .epoch = kTestIdentity.epoch,
                             .host = kTestIdentity.host,
                             .segment = segment,
                             .index = 1};
  struct Claim {
    std::uint64_t offset;
    std::uint64_t length_bytes;
    ErrorCode code;
  };
  for (const Claim& claim :
       std::vector<Claim>{{0, 100, ErrorCode::kDataLoss},
                          {kSlabControlBytes - 64, 100, ErrorCode::kDataLoss},
                          {kSlabControlBytes + 1, 100, ErrorCode::kDataLoss},
                          {(1 << 20) - 64, 100, ErrorCode::kDataLoss},
                          {~std::uint64_t{0} - 63, 100, ErrorCode::kDataLoss},
                          {std::uint64_t{1} << 63, 100, ErrorCode::kDataLoss},
                          {kSlabControlBytes, 101, ErrorCode::kInvalidArgument},
                          {kSlabControlBytes, ~std::uint64_t{0}, ErrorCode::kInvalidArgument},
                          {kSlabControlBytes, 100, ErrorCode::kOk},
                          {(1 << 20) - 128, 100, ErrorCode::kOk}}) {
    SCOPED_TRACE(testing::Message() << claim.length_bytes << " bytes at " << claim.offset);
    descriptors[1].offset = claim.offset;
    descriptors[1].length_bytes = claim.length_bytes;
    descriptors[1].life = life_of(1, BlobPhase::kSealed);
    EXPECT_EQ(code_of(reader_->open(handle)), claim.code);
    EXPECT_EQ(code_of(table().view(handle)), claim.code);
    EXPECT_EQ(reference_count(), 0u);
    EXPECT_EQ(descriptors[1].pinned, 0u);
  }
  BlobHandle huge = handle;
  huge.length_bytes = ~std::uint64_t{0};
  descriptors[1].length_bytes = huge.length_bytes;
  EXPECT_EQ(code_of(reader_->open(huge)), ErrorCode::kDataLoss);
  EXPECT_EQ(code_of(table().view(huge)), ErrorCode::kDataLoss);
  std::memset(mapped->bytes().data(), 0xff, kSlabControlBytes);
  EXPECT_NE(code_of(reader_->open(handle)), ErrorCode::kOk);
  EXPECT_FALSE(table().keep(handle).ok());
  EXPECT_FALSE(table().view(handle).has_value());
  static_cast<void>(table().snapshot());
  table().client_gone(11);
  EXPECT_EQ(padded_text_of(*reader_->open(seal_padded_text(*writer_, "unharmed").handle())),
            "unharmed");
}

// What the agent gives to another host.
class ViewOfASlab : public SlabsOfAHost {
 protected:
  // Blobs whose memory is not used again.
  std::uint64_t held_count() {
    std::uint64_t count = 0;
    for (const SegmentState& state : table().snapshot()) {
      count += state.blob_count + state.retired_count;
    }
    return count;
  }

  // Writes over all that it may.
  void write_over() {
    for (int i = 0; i < 100; ++i) {
      EXPECT_NE(seal_padded_text(*writer_, "other", kSlabBlobBytesMax).bytes().data(), nullptr);
    }
  }
};

TEST_F(ViewOfASlab, HasTheBytesOfABlobThatTheJobDoesNotKeep) {
  for (const std::uint64_t size_bytes :
       {std::uint64_t{10}, std::uint64_t{100'000}, kSlabBlobBytesMax, kSlabBlobBytesMax + 1}) {
    std::optional<Blob> blob = seal_padded_text(*writer_, "loose", size_bytes);
    const Result<Blob> view = table().view(blob->handle());
    ASSERT_TRUE(view.has_value()) << view.error().to_string();
    EXPECT_EQ(view->handle(), blob->handle());
    EXPECT_EQ(view->home(), kTestPlace);
    EXPECT_TRUE(std::ranges::equal(view->bytes(), blob->bytes())) << size_bytes;
    blob.reset();
    EXPECT_EQ(held_count(), 0u);
    write_over();
    EXPECT_EQ(padded_text_of(*view), "loose") << "what was lent changes";
  }
}

TEST_F(ViewOfASlab, KeepsNothingForTheJob) {
  const Blob blob = seal_padded_text(*writer_, "loose");
  const Result<Blob> view = table().view(blob.handle());
  EXPECT_EQ(table().usage().blob_count, 0u);
  EXPECT_FALSE(table().file_part_of(blob.handle()).has_value());
  table().client_gone(kWriter);
  EXPECT_EQ(code_of(table().view(blob.handle())), ErrorCode::kNotFound);
  EXPECT_EQ(padded_text_of(*view), "loose");
  EXPECT_TRUE(table().snapshot().empty());
}

TEST_F(ViewOfASlab, LeavesWhatTheJobKeeps) {
  std::optional<Blob> blob = seal_padded_text(*writer_, "kept", kSlabBlobBytesMax);
  const BlobHandle handle = blob->handle();
  ASSERT_TRUE(table().keep(handle).ok());
  BlobHandle other = handle;
  ++other.generation;
  EXPECT_EQ(code_of(table().view(other)), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(padded_text_of(*table().view(handle)), "kept");
  blob.reset();
  EXPECT_EQ(held_count(), 1u);
  write_over();
  EXPECT_EQ(padded_text_of(*table().view(handle)), "kept");
  table().release(handle);
  EXPECT_EQ(code_of(table().view(handle)), ErrorCode::kNotFound);
}

TEST_F(ViewOfASlab, IsOfNoOtherBlobThanTheHandleNames) {
  std::optional<Blob> blob = seal_padded_text(*writer_, "first");
  const BlobHandle first = blob->handle();
  for (const std::uint64_t generation :
       {first.generation - 1, first.generation + 1, first.generation + (std::uint64_t{1} << 62)}) {
    BlobHandle other = first;
    other.generation = generation;
    EXPECT_EQ(code_of(table().view(other)), ErrorCode::kFailedPrecondition) << generation;
  }
  BlobHandle longer = first;
  ++longer.length_bytes;
  EXPECT_EQ(code_of(table().view(longer)), ErrorCode::kInvalidArgument);
  BlobHandle foreign = first;
  ++foreign.job;
  EXPECT_EQ(code_of(table().view(foreign)), ErrorCode::kFailedPrecondition);
  BlobHandle elsewhere = first;
  elsewhere.segment += 1000;
  EXPECT_EQ(code_of(table().view(elsewhere)), ErrorCode::kNotFound);

  blob.reset();
  EXPECT_EQ(code_of(table().view(first)), ErrorCode::kNotFound);
  const Blob second = seal_padded_text(*writer_, "second");
  ASSERT_EQ(second.handle().index, first.index) << "the descriptor was to be used again";
  EXPECT_EQ(code_of(table().view(first)), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(padded_text_of(*table().view(second.handle())), "second");
}

TEST_F(ViewOfASlab, HasWholeBytesWhileTheWriterUsesItsMemoryAgain) {
  constexpr int kViewCount = 2000;
  struct Made {
    BlobHandle handle = {};
    std::byte fill = {};
  };
  Mutex mutex;
  Made newest;
  std::atomic<bool> over = false;
  std::thread writer([&] {
    Result<Blob> held = Blob();  // One round longer than it is the newest: views of it begin.
    for (unsigned number = 1; !over; ++number) {
      Result<BlobWriter> next = writer_->create(100'000, kTestPlace);
      ASSERT_TRUE(next.has_value()) << next.error().to_string();
      const auto fill = static_cast<std::byte>(number & 0xff);
      std::ranges::fill(next->bytes(), fill);
      Result<Blob> sealed = next->seal();
      ASSERT_TRUE(sealed.has_value()) << sealed.error().to_string();
      {
        const MutexLock lock(mutex);
        newest = {sealed->handle(), fill};
      }
      held = std::move(sealed);
    }
  });
  for (int viewed = 0; viewed < kViewCount && !HasFailure();) {
    const Made made = [&] {
      const MutexLock lock(mutex);
      return newest;
    }();
    const Result<Blob> view = agent_.view(made.handle);
    if (view) {
      ++viewed;
      EXPECT_EQ(std::ranges::count(view->bytes(), made.fill), 100'000);
    } else {
      EXPECT_THAT(view.error().code(),
                  testing::AnyOf(ErrorCode::kNotFound, ErrorCode::kFailedPrecondition));
    }
  }
  over = true;
  writer.join();
}

}  // namespace
}  // namespace pinion
