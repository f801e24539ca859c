#include <pinion/core/blob.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/blob_store.hpp>

namespace pinion {
namespace {

constexpr BlobHandle kHandle{.job = 1, .generation = 2, .length_bytes = 4, .epoch = 3, .host = 4};
constexpr Place kHome{.index = 1, .host = 4};

static_assert(!std::is_copy_constructible_v<BlobWriter>);
static_assert(std::is_nothrow_move_constructible_v<BlobWriter>);
static_assert(std::is_abstract_v<IBlobStore> && std::has_virtual_destructor_v<IBlobStore>);

// A writer of four bytes, as a store makes it: what it seals owns the memory.
BlobWriter make_writer(const std::shared_ptr<std::array<std::byte, 4>>& memory) {
  return BlobWriter(*memory,
                    [memory]() -> Result<Blob> { return Blob(kHandle, kHome, *memory, memory); });
}

TEST(BlobHandle, IsEqualOnlyWhenAllFieldsAre) {
  EXPECT_EQ(BlobHandle(), BlobHandle());
  const std::vector<BlobHandle> others = {{.job = 1},   {.generation = 1}, {.length_bytes = 1},
                                          {.epoch = 1}, {.host = 1},       {.segment = 1},
                                          {.index = 1}};
  for (const BlobHandle& other : others) {
    EXPECT_NE(other, BlobHandle());
    EXPECT_EQ(std::count(others.begin(), others.end(), other), 1);
  }
}

TEST(Blob, OfNothingIsEmpty) {
  const Blob blob;
  EXPECT_TRUE(blob.bytes().empty());
  EXPECT_EQ(blob.handle(), BlobHandle());
}

TEST(Blob, KeepsItsMemoryWhileACopyLives) {
  auto memory = std::make_shared<std::array<std::byte, 4>>();
  const std::weak_ptr<void> watch = memory;
  Blob copy;
  {
    const Blob blob(kHandle, kHome, *memory, memory);
    memory.reset();
    copy = blob;
    EXPECT_EQ(copy.bytes().data(), blob.bytes().data());
  }
  EXPECT_FALSE(watch.expired());
  copy = Blob();
  EXPECT_TRUE(watch.expired());
}

TEST(BlobWriter, SealsWhatWasWritten) {
  BlobWriter writer = make_writer(std::make_shared<std::array<std::byte, 4>>());
  std::fill(writer.bytes().begin(), writer.bytes().end(), std::byte{7});

  const Result<Blob> blob = writer.seal();

  ASSERT_TRUE(blob.has_value());
  EXPECT_EQ(blob->handle(), kHandle);
  EXPECT_EQ(blob->home(), kHome);
  EXPECT_EQ(std::count(blob->bytes().begin(), blob->bytes().end(), std::byte{7}), 4);
  EXPECT_TRUE(writer.bytes().empty());
}

TEST(BlobWriter, GivesItsMemoryBackWhenItIsDroppedUnsealed) {
  auto memory = std::make_shared<std::array<std::byte, 4>>();
  const std::weak_ptr<void> watch = memory;
  {
    const BlobWriter writer = make_writer(memory);
    memory.reset();
    EXPECT_FALSE(watch.expired());
  }
  EXPECT_TRUE(watch.expired());
}

TEST(BlobWriter, LetsGoOfItsMemoryOnceItIsSealed) {
  auto memory = std::make_shared<std::array<std::byte, 4>>();
  const std::weak_ptr<void> watch = memory;
  BlobWriter writer = make_writer(memory);
  memory.reset();
  {
    const Result<Blob> blob = writer.seal();
    EXPECT_FALSE(watch.expired());
  }
  EXPECT_TRUE(watch.expired());
}

TEST(BlobWriter, PassesTheErrorOfTheStore) {
  BlobWriter writer(
      {}, []() -> Result<Blob> { return Status(ErrorCode::kUnavailable, "the agent is gone"); });
  const Result<Blob> blob = writer.seal();
  ASSERT_FALSE(blob.has_value());
  EXPECT_EQ(blob.error().code(), ErrorCode::kUnavailable);
}

TEST(BlobWriterDeathTest, DiesWhenItIsSealedTwice) {
  BlobWriter writer = make_writer(std::make_shared<std::array<std::byte, 4>>());
  ASSERT_TRUE(writer.seal().has_value());
  EXPECT_DEATH(static_cast<void>(writer.seal()), "seal_ != nullptr");
}

}  // namespace
}  // namespace pinion
