#include "engine/opened_partials.hpp"

#include <cstddef>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shard/input/memory_blob_store.hpp"

namespace pinion::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::uint32_t kPartitionCount = 4;

// A store that notes what is opened, and how much of it.
class WatchedStore final : public IBlobStore {
 public:
  Result<BlobWriter> create(std::uint64_t size_bytes, Place place) override {
    return blobs_.create(size_bytes, place);
  }
  Result<Blob> open(const BlobHandle& handle) override {
    whole.push_back(handle.length_bytes);
    return blobs_.open(handle);
  }
  std::function<Result<std::vector<Blob>>()> open_parts(std::vector<BlobPart> wanted) override {
    std::vector<std::uint64_t>& lengths = parts.emplace_back();
    for (const BlobPart& part : wanted) {
      lengths.push_back(part.length_bytes);
    }
    return blobs_.open_parts(std::move(wanted));
  }
  BlobStoreUsage usage() const override { return blobs_.usage(); }

  // Of partitions of these lengths; all bytes of the blob's are this one.
  BlobHandle add(const std::vector<std::uint64_t>& lengths, std::byte filling) {
    const PartitionedLayout layout = layout_partitions(lengths);
    BlobWriter writer = blobs_.create(layout.size_bytes, {}).value();
    write_partition_table(writer.bytes(), layout);
    for (std::uint32_t i = 0; i < lengths.size(); ++i) {
      for (std::byte& byte : partition_of(writer.bytes(), layout, i)) {
        byte = filling;
      }
    }
    return writer.seal().value().handle();
  }

  std::vector<std::uint64_t> whole = {};
  std::vector<std::vector<std::uint64_t>> parts = {};  // Of each call.

 private:
  testing_input::MemoryBlobStore blobs_;
};

class OpenedPartialsTest : public testing::Test {
 protected:
  // As a rank of `host`; the store makes blobs of host 0.
  Result<OpenedPartials> open_on(std::uint32_t host, const std::vector<BlobHandle>& handles,
                                 const std::vector<protocol::CombinedPartials>& combined = {},
                                 std::uint32_t partition_count = kPartitionCount) {
    return OpenedPartials::open(
        {.store = store_, .host = host, .epoch = 1, .expected_bytes_max = 400'000},
        {.partials = handles, .combined = combined}, partition_count);
  }

  static std::vector<std::byte> first_bytes(const Result<std::vector<Blob>>& blobs) {
    std::vector<std::byte> bytes;
    for (const Blob& blob : blobs.value()) {
      bytes.push_back(blob.bytes().empty() ? std::byte{} : blob.bytes().front());
    }
    return bytes;
  }

  WatchedStore store_;
  const std::uint64_t table_bytes_ = partition_table_bytes(kPartitionCount);
};

TEST_F(OpenedPartialsTest, OfTheirOwnHostAreMapped) {
  const BlobHandle handle = store_.add({100'000, 1, 2, 100'000}, std::byte{7});
  const auto partials = open_on(0, {handle});
  ASSERT_TRUE(partials) << partials.error().to_string();
  partials->expect(3);
  EXPECT_THAT(first_bytes(partials->partition(3)), ElementsAre(std::byte{7}));
  EXPECT_THAT(store_.whole, ElementsAre(handle.length_bytes));
  EXPECT_THAT(store_.parts, IsEmpty());
}

TEST_F(OpenedPartialsTest, OfAnotherHostComeInPartitionsAllAtOnce) {
  const std::vector<BlobHandle> handles = {store_.add({100'000, 1, 0, 50'000}, std::byte{7}),
                                           store_.add({10, 20, 30, 40}, std::byte{8}),
                                           store_.add({9, 50'000, 60'000, 0}, std::byte{9})};
  const auto partials = open_on(1, handles);
  ASSERT_TRUE(partials) << partials.error().to_string();
  EXPECT_THAT(store_.whole, ElementsAre(handles[1].length_bytes)) << "a small one comes whole";
  EXPECT_THAT(store_.parts, ElementsAre(ElementsAre(table_bytes_, table_bytes_)));
  EXPECT_THAT(first_bytes(partials->partition(1)),
              ElementsAre(std::byte{7}, std::byte{8}, std::byte{9}));
  EXPECT_THAT(first_bytes(partials->partition(3)),
              ElementsAre(std::byte{7}, std::byte{8}, std::byte{}));
  EXPECT_THAT(store_.parts, ElementsAre(SizeIs(2), ElementsAre(1, 50'000), ElementsAre(50'000)));
  EXPECT_EQ(partials->partition(kPartitionCount).error().code(), ErrorCode::kDataLoss);
}

TEST_F(OpenedPartialsTest, OfAnotherHostAndOnePartitionComeWhenThatIsMerged) {
  const auto partials =
      open_on(1, {store_.add({90'000}, std::byte{7}), store_.add({80'000}, std::byte{8})}, {}, 1);
  ASSERT_TRUE(partials) << partials.error().to_string();
  EXPECT_THAT(store_.whole, IsEmpty()) << "who opens them has more to do than to wait";
  EXPECT_THAT(store_.parts, ElementsAre(SizeIs(2)));
  EXPECT_THAT(first_bytes(partials->partition(0)), ElementsAre(std::byte{7}, std::byte{8}));
  EXPECT_THAT(store_.parts, ElementsAre(SizeIs(2), ElementsAre(90'000, 80'000)));
}

TEST_F(OpenedPartialsTest, BringsWhatIsExpectedOnce) {
  const auto partials = open_on(1, {store_.add({100'000, 250'000, 60'000, 300'000}, std::byte{7})});
  ASSERT_TRUE(partials) << partials.error().to_string();
  store_.parts.clear();
  for (const std::uint32_t index : {0u, 1u, 1u, 2u, kPartitionCount}) {
    partials->expect(index);
  }
  EXPECT_THAT(store_.parts, ElementsAre(ElementsAre(100'000), ElementsAre(250'000)))
      << "more than 400'000 bytes are not expected";
  EXPECT_THAT(partials->partition(1).value(), SizeIs(1));
  EXPECT_THAT(store_.parts, SizeIs(2)) << "it had come";
  partials->expect(3);
  EXPECT_THAT(store_.parts, SizeIs(3)) << "there is room for it now";
  partials->forget_expected();
  EXPECT_THAT(partials->partition(3).value(), SizeIs(1));
  EXPECT_THAT(store_.parts, SizeIs(4));
}

TEST_F(OpenedPartialsTest, HaveTheErrorOfTheStore) {
  for (const std::uint64_t length : {std::uint64_t{100}, std::uint64_t{1} << 20}) {
    const BlobHandle handle = {.job = 1, .generation = 7, .length_bytes = length, .epoch = 1};
    EXPECT_EQ(open_on(1, {handle}).error().code(), ErrorCode::kNotFound);
  }
}

class CombinedPartialsTest : public OpenedPartialsTest {
 protected:
  // Three partials, the first and the last of which are combined; the named partitions of them.
  std::vector<protocol::CombinedPartials> combine(const std::vector<std::uint32_t>& partitions) {
    return {combine({0, 2}, partitions, std::byte{5})};
  }
  protocol::CombinedPartials combine(std::vector<std::uint32_t> members,
                                     const std::vector<std::uint32_t>& partitions,
                                     std::byte filling) {
    protocol::CombinedPartials one{.members = std::move(members), .outputs = {}};
    one.outputs.resize(kPartitionCount);
    for (const std::uint32_t partition : partitions) {
      one.outputs[partition] = store_.add({30'000 + partition}, filling);
    }
    return one;
  }

  std::vector<BlobHandle> handles_ = {store_.add({50'000, 1, 2, 50'000}, std::byte{7}),
                                      store_.add({50'000, 1, 2, 50'000}, std::byte{8}),
                                      store_.add({50'000, 1, 2, 50'000}, std::byte{9})};
};

TEST_F(CombinedPartialsTest, StandForTheirMembersWhereTheFirstOfThemStood) {
  for (const std::uint32_t host : {0U, 1U}) {
    const auto partials = open_on(host, handles_, combine({0, 1, 2, 3}));
    ASSERT_TRUE(partials) << partials.error().to_string();
    EXPECT_THAT(first_bytes(partials->partition(3)), ElementsAre(std::byte{5}, std::byte{8}));
  }
}

TEST_F(CombinedPartialsTest, AreAllThatComesOfTheirMembers) {
  const std::vector<protocol::CombinedPartials> combined = combine({0, 1, 2, 3});
  const auto partials = open_on(1, handles_, combined);
  ASSERT_TRUE(partials) << partials.error().to_string();
  EXPECT_THAT(store_.parts, ElementsAre(ElementsAre(table_bytes_))) << "of the one that is alone";
  store_.parts.clear();
  partials->expect(3);
  EXPECT_THAT(first_bytes(partials->partition(3)), ElementsAre(std::byte{5}, std::byte{8}));
  EXPECT_THAT(store_.parts,
              ElementsAre(ElementsAre(combined.front().outputs[3].length_bytes, 50'000)));
  EXPECT_THAT(store_.whole, IsEmpty());
}

TEST_F(CombinedPartialsTest, AreOpenedOnTheirHostByWhoMergesThem) {
  const std::vector<protocol::CombinedPartials> combined = combine({0, 1, 2, 3});
  const auto partials = open_on(0, handles_, combined);
  ASSERT_TRUE(partials) << partials.error().to_string();
  EXPECT_THAT(store_.whole, ElementsAre(handles_[1].length_bytes));
  EXPECT_THAT(first_bytes(partials->partition(0)), ElementsAre(std::byte{5}, std::byte{8}));
  EXPECT_THAT(store_.whole,
              ElementsAre(handles_[1].length_bytes, combined.front().outputs[0].length_bytes));
}

TEST_F(CombinedPartialsTest, LeavePartitionsToTheirMembersThatAreNotCombined) {
  for (const std::uint32_t host : {0U, 1U}) {
    const auto partials = open_on(host, handles_, combine({3}));
    ASSERT_TRUE(partials) << partials.error().to_string();
    EXPECT_THAT(first_bytes(partials->partition(3)), ElementsAre(std::byte{5}, std::byte{8}));
    EXPECT_THAT(first_bytes(partials->partition(0)),
                ElementsAre(std::byte{7}, std::byte{8}, std::byte{9}));
  }
}

TEST_F(CombinedPartialsTest, MayBeCombinedAgainWithOthersPartitionByPartition) {
  for (const std::uint32_t host : {0U, 1U}) {
    const auto partials =
        open_on(host, handles_,
                {combine({0, 2}, {0, 1}, std::byte{5}), combine({0, 1, 2}, {3}, std::byte{6})});
    ASSERT_TRUE(partials) << partials.error().to_string();
    EXPECT_THAT(first_bytes(partials->partition(0)), ElementsAre(std::byte{5}, std::byte{8}));
    EXPECT_THAT(first_bytes(partials->partition(2)),
                ElementsAre(std::byte{7}, std::byte{8}, std::byte{9}));
    EXPECT_THAT(first_bytes(partials->partition(3)), ElementsAre(std::byte{6}));
  }
}

TEST_F(CombinedPartialsTest, OfAnotherNumberOfPartitionsAreRefused) {
  std::vector<protocol::CombinedPartials> combined = combine({3});
  combined.front().outputs.pop_back();
  const auto partials = open_on(0, handles_, combined);
  ASSERT_FALSE(partials);
  EXPECT_EQ(partials.error().code(), ErrorCode::kInternal);
}

}  // namespace
}  // namespace pinion::engine
