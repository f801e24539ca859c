#include <fcntl.h>

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/blob_store.hpp>
#include <pinion/shm/segment_table.hpp>

#include "shm_host.hpp"

// Two jobs of one user on one host, each with an agent of its own: what one has is nothing to the
// other, also where a process of it gets hold of a handle or a descriptor of the first.

namespace pinion {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint64_t kBudget = std::uint64_t{16} << 20;
constexpr BlobStoreIdentity kOtherIdentity = {
    .job = kTestIdentity.job + 1, .epoch = kTestIdentity.epoch, .host = kTestIdentity.host};
constexpr std::uint32_t kSegments = 1 << 10;
constexpr std::uint32_t kWriter = 0;
constexpr std::uint32_t kStranger = 1;

UniqueFd duplicate(int descriptor) {
  return UniqueFd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
}

class ForeignJob : public testing::Test {
 protected:
  ForeignJob() {
    for (const std::uint64_t size_bytes : {std::uint64_t{1000}, std::uint64_t{1} << 20}) {
      blobs_.push_back(writer_->create(size_bytes, kTestPlace)->seal().value());
    }
  }

  TableAgent agent_{kSegments};
  TableAgent other_agent_{kSegments, std::numeric_limits<std::uint64_t>::max(), kOtherIdentity};
  std::unique_ptr<IBlobStore> writer_ = agent_.make_slab_store(kWriter, kBudget);
  std::vector<Blob> blobs_;  // One in a slab, and one with a segment of its own.
};

TEST_F(ForeignJob, OpensNoHandle) {
  const auto stranger = other_agent_.make_slab_store(kStranger, kBudget);
  for (const Blob& blob : blobs_) {
    const Result<Blob> refused = stranger->open(blob.handle());
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kFailedPrecondition);
    EXPECT_THAT(std::string(refused.error().message()),
                AllOf(HasSubstr("job 77"), HasSubstr("job 78")));
  }
  EXPECT_EQ(other_agent_.fetch_count(), 0);
}

TEST_F(ForeignJob, GetsNothingFromAnAgentThatItAsks) {
  SegmentTable& table = other_agent_.table();
  ASSERT_TRUE(table.admit(kStranger).has_value());
  for (const Blob& blob : blobs_) {
    const BlobHandle& handle = blob.handle();
    EXPECT_EQ(table.fetch(kStranger, handle).error().code(), ErrorCode::kFailedPrecondition);
    EXPECT_EQ(table.find_slab(kStranger, handle).error().code(), ErrorCode::kFailedPrecondition);
    EXPECT_EQ(table.keep(handle).code(), ErrorCode::kFailedPrecondition);
    EXPECT_EQ(table.file_part_of(handle).error().code(), ErrorCode::kFailedPrecondition);
    EXPECT_EQ(table.view(handle).error().code(), ErrorCode::kFailedPrecondition);
    table.let_go(kStranger, handle);
    table.release(handle);
  }
}

// The numbers of segments are the same in each job: only the job tells them apart.
TEST_F(ForeignJob, TakesNothingFromAJobWithTheSameNumbers) {
  const auto twin = other_agent_.make_slab_store(kWriter, kBudget);
  for (const Blob& blob : blobs_) {
    const Blob same = twin->create(blob.bytes().size(), kTestPlace)->seal().value();
    BlobHandle handle = same.handle();
    handle.job = kTestIdentity.job;
    EXPECT_EQ(handle, blob.handle());
    other_agent_.table().release(blob.handle());
    other_agent_.table().let_go(kWriter, blob.handle());
    EXPECT_TRUE(twin->open(same.handle()).has_value());
  }
}

// The descriptor of a finished segment, from /proc for example, brings it into no other job.
TEST_F(ForeignJob, PublishesNoSegmentOfAnother) {
  SegmentTable& table = other_agent_.table();
  const Blob& large = blobs_.back();
  const int descriptor = agent_.table().find(large.handle())->first;
  const Status by_its_handle =
      table.publish(kWriter, large.handle(), kTestPlace, duplicate(descriptor));
  EXPECT_EQ(by_its_handle.code(), ErrorCode::kFailedPrecondition);
  BlobHandle claimed = large.handle();
  claimed.job = kOtherIdentity.job;
  const Status by_another = table.publish(kWriter, claimed, kTestPlace, duplicate(descriptor));
  EXPECT_EQ(by_another.code(), ErrorCode::kDataLoss);
  EXPECT_THAT(std::string(by_another.message()), HasSubstr("of job 77"));
  EXPECT_EQ(table.usage().blob_count, 0u);
}

// What such a descriptor or a slab of another job is passed for by a broken agent is refused too.
TEST_F(ForeignJob, ReadsNoMemoryOfAnother) {
  SegmentExchange exchange = other_agent_.exchange(kStranger);
  exchange.slabs = other_agent_.slab_exchange(kStranger);
  exchange.fetch = [&](const BlobHandle& handle) -> Result<std::pair<UniqueFd, Place>> {
    BlobHandle known = handle;
    known.job = kTestIdentity.job;
    return std::pair(duplicate(agent_.table().find(known)->first), kTestPlace);
  };
  exchange.slabs.fetch = [&](const BlobHandle& handle) {
    BlobHandle known = handle;
    known.job = kTestIdentity.job;
    return agent_.slab_exchange(kStranger).fetch(known);
  };
  ASSERT_TRUE(agent_.table().admit(kStranger).has_value());
  SharedBlobStoreOptions options = other_agent_.options(kStranger, kBudget);
  options.row_descriptor = *other_agent_.table().admit(kStranger);
  const auto misled = make_shared_blob_store(options, exchange);
  for (const Blob& blob : blobs_) {
    BlobHandle claimed = blob.handle();
    claimed.job = kOtherIdentity.job;
    EXPECT_EQ(misled->open(claimed).error().code(), ErrorCode::kDataLoss);
  }
}

}  // namespace
}  // namespace pinion
