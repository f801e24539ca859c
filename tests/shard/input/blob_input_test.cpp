#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/input.hpp>
#include <pinion/shm/local_blob_store.hpp>

#include "engine/shard_reader.hpp"
#include "shard/input/trial.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;
using testing_input::plan_shards;

class BlobInput : public testing::Test {
 protected:
  Blob add(std::string_view content) {
    BlobWriter writer = store_->create(content.size(), Place{}).value();
    const std::span<const std::byte> bytes = std::as_bytes(std::span(content));
    std::copy(bytes.begin(), bytes.end(), writer.bytes().begin());
    return writer.seal().value();
  }

  StepPlan plan(const Input& input, const Partitioning& by) {
    StepPlan plan;
    plan.listing = InputListing::list(input, *store_, false, 1).value();
    plan.shards = plan_shards(by, plan.listing, by.policy);
    plan.alignment = by.policy.alignment;
    EXPECT_EQ(find_flaw(plan), "");
    return plan;
  }

  std::unique_ptr<LocalBlobStore> store_ =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 30);
};

TEST_F(BlobInput, IsMappedAndNotCopied) {
  const Blob first = add(std::string(10'000, 'a'));
  const Blob second = add(std::string(5'000, 'b'));
  const StepPlan whole = plan(blobs({first, second}), by_file());
  ASSERT_EQ(whole.shards.size(), 2u);
  ShardReader reader;
  EXPECT_EQ(reader.load(whole, 0, 1, 0)->bytes().data(), first.bytes().data());
  EXPECT_EQ(reader.load(whole, 1, 1, 0)->bytes().data(), second.bytes().data());
  EXPECT_EQ(reader.load(whole, 1, 1, 0)->text(), std::string(5'000, 'b'));
  EXPECT_EQ(reader.load(whole, 1, 1, 0)->lead_bytes(), 0u);

  const StepPlan pieces = plan(blobs({first}), by_bytes(3'000));
  EXPECT_EQ(reader.load(pieces, 2, 1, 0)->bytes().data(), first.bytes().data() + 6'000);
  EXPECT_EQ(reader.memory_bytes(), 0u);
}

// Behind the last byte of a page there may be nothing.
TEST_F(BlobInput, HasReadableBytesBehindItWhateverItsSize) {
  ShardReader reader;
  for (std::size_t size = 4096 - 70; size <= 4096 + 1; ++size) {
    const Blob blob = add(std::string(size, 'x'));
    const StepPlan whole = plan(blobs({blob}), by_file());
    const Shard shard = reader.load(whole, 0, 1, 0).value();
    ASSERT_EQ(shard.text(), std::string(size, 'x'));
    const bool is_mapped = shard.bytes().data() == blob.bytes().data();
    ASSERT_EQ(is_mapped, size <= 4096 - 64 || size == 4097) << size;
    unsigned sum = 0;
    for (std::size_t at = size; at < size + 64; ++at) {
      sum += static_cast<unsigned>(shard.bytes().data()[at]);
    }
    ASSERT_EQ(sum, 0u) << size;
  }
}

// Whatever stands behind it, also where a text would be copied.
TEST_F(BlobInput, ThatIsAPartitionIsAlwaysMapped) {
  ShardReader reader;
  for (std::size_t size = 4096 - 130; size <= 4096 + 1; ++size) {
    const Blob blob = add(std::string(size, 'x'));
    Input input = blobs({blob});
    input.are_partitions = true;
    const StepPlan whole = plan(input, by_partition());
    ASSERT_EQ(reader.load(whole, 0, 1, 0)->bytes().data(), blob.bytes().data()) << size;
  }
  EXPECT_EQ(reader.memory_bytes(), 0u);
}

TEST_F(BlobInput, ThatIsAPartitionIsOpenOnlyWhileItIsRead) {
  Input input = blobs({add(std::string(1000, 'a')), add(std::string(2000, 'b'))});
  input.are_partitions = true;
  ASSERT_TRUE(store_->keep(input.handles[0]).ok());
  ASSERT_TRUE(store_->keep(input.handles[1]).ok());
  input.kept.clear();
  const StepPlan received = decode(encode(plan(input, by_partition())), *store_).value();
  ShardReader reader;
  EXPECT_EQ(reader.load(received, 1, 1, 0)->text(), std::string(2000, 'b'));
  store_->release(input.handles[0]);
  store_->release(input.handles[1]);
  EXPECT_TRUE(store_->open(input.handles[1]).has_value()) << "it is the reader's";
  const Result<Shard> gone = reader.load(received, 0, 1, 0);
  EXPECT_EQ(gone.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(gone.error().message(), HasSubstr("cannot open partition 0"));
  EXPECT_FALSE(store_->open(input.handles[1]).has_value()) << "the reader has let go of it";
}

TEST_F(BlobInput, JoinsSmallBlobsByCopyingThem) {
  const StepPlan joined =
      plan(blobs({add("one\n"), add(""), add("two"), add("three")}), by_bytes(100, align_to_line));
  ASSERT_EQ(joined.shards.size(), 1u);
  ShardReader reader;
  const Shard shard = reader.load(joined, 0, 1, 0).value();
  EXPECT_EQ(shard.text(), "one\ntwo\nthree");
  EXPECT_EQ(shard.lead_bytes(), 64u);
}

TEST_F(BlobInput, TravelsInThePlanByHandle) {
  const Blob blob = add("some text");
  const StepPlan sent = plan(blobs({blob}), by_file());
  const StepPlan received = decode(encode(sent), *store_).value();
  ShardReader reader;
  EXPECT_EQ(reader.load(received, 0, 1, 0)->bytes().data(), blob.bytes().data());
}

TEST_F(BlobInput, IsFoundByHandleAsLongAsSomebodyHoldsIt) {
  Input holding = blobs({add("text")});
  const Input by_handle = blobs(std::vector<BlobHandle>(holding.handles));
  EXPECT_EQ(by_handle.describe(), holding.describe());
  EXPECT_TRUE(InputListing::list(by_handle, *store_, false, 1).has_value());

  holding = Input();
  const Result<InputListing> gone = InputListing::list(by_handle, *store_, false, 1);
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(gone.error().message(), HasSubstr("blob 0"));
}

TEST_F(BlobInput, DescribesWhichBlobsItIs) {
  const Blob one = add("1");
  const Blob two = add("2");
  EXPECT_NE(blobs({one, two}).describe(), blobs({two, one}).describe());
  EXPECT_EQ(blobs({one}).describe(), blobs({one}).describe());
  Input partition = blobs({one});
  partition.are_partitions = true;
  EXPECT_NE(partition.describe(), blobs({one}).describe());
  Input both = files({"a"});
  both.handles = {one.handle()};
  EXPECT_THAT(both.describe(), testing::StartsWith("files(\"a\") and blobs("));
}

// A store of host 0, at node 3, that has a copy of each blob of another host.
class CopyingStore final : public IBlobStore {
 public:
  [[nodiscard]] Result<BlobWriter> create(std::uint64_t, Place) override {
    return Status(ErrorCode::kUnimplemented, "it only opens");
  }
  [[nodiscard]] Result<Blob> open(const BlobHandle& handle) override {
    static const std::vector<std::byte> bytes(100);
    return Blob(handle, {.index = 3, .host = 0}, bytes, nullptr);
  }
  [[nodiscard]] BlobStoreUsage usage() const override { return {}; }
};

TEST(BlobInputOfAnotherHost, IsAtHomeThereAndNotWhereItsCopyLies) {
  CopyingStore store;
  const std::vector<BlobHandle> handles = {
      {.generation = 1, .length_bytes = 100, .epoch = 2, .host = 0},
      {.generation = 2, .length_bytes = 100, .epoch = 2, .host = 4},
      {.generation = 3, .length_bytes = 100, .epoch = 1, .host = 4}};
  for (const bool are_partitions : {false, true}) {
    Input input = blobs(handles);
    input.are_partitions = are_partitions;
    const InputListing listing = InputListing::list(input, store, false, 2).value();
    ASSERT_EQ(listing.sources().size(), 3u);
    EXPECT_EQ(listing.sources()[0].home, (Place{.index = 3, .host = 0}));
    EXPECT_EQ(listing.sources()[1].home, (Place{.index = 0, .host = 4}));
    // What an earlier epoch has left is with the head.
    EXPECT_EQ(listing.sources()[2].home, (Place{.index = 3, .host = 0}));
  }
}

}  // namespace
}  // namespace pinion
