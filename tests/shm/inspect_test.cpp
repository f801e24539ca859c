#include <pinion/shm/inspect.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "shm_host.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kBudget = std::uint64_t{64} << 20;

Blob seal(IBlobStore& store, std::uint64_t size_bytes) {
  return store.create(size_bytes, kTestPlace)->seal().value();
}

// This process is the agent. From outside the same is seen as the agent knows, but for what is kept
// of blobs with segments of their own.
TEST(InspectStore, SeesWhatTheAgentKnows) {
  TableAgent agent(1 << 16);
  const auto writer = agent.make_slab_store(3, kBudget, ::getpid());
  const auto reader = agent.make_slab_store(4, kBudget);
  std::vector<Blob> blobs;
  for (int i = 0; i < 10; ++i) {
    blobs.push_back(seal(*writer, 1000));
    blobs.push_back(*reader->open(blobs.back().handle()));
  }
  const Blob large = seal(*writer, 1 << 20);
  const Blob other = seal(*reader, 100);
  ASSERT_TRUE(agent.table().keep(blobs[0].handle()).ok());
  const Result<BlobWriter> unsealed = writer->create(1000, kTestPlace);

  const Result<StoreView> view = inspect_store(::getpid());
  ASSERT_TRUE(view.has_value()) << view.error().to_string();
  EXPECT_EQ(view->job, kTestIdentity.job);
  const std::vector<SegmentState> known = agent.table().snapshot();
  ASSERT_EQ(view->segments.size(), 3u);
  ASSERT_EQ(known.size(), 3u);
  for (std::size_t i = 0; i < known.size(); ++i) {
    EXPECT_EQ(view->segments[i].segment, known[i].segment);
    EXPECT_EQ(view->segments[i].client, known[i].client);
    EXPECT_EQ(view->segments[i].home, known[i].home);
    EXPECT_EQ(view->segments[i].size_bytes, known[i].size_bytes);
    EXPECT_EQ(view->segments[i].blob_count, known[i].blob_count);
    EXPECT_EQ(view->segments[i].blob_bytes, known[i].blob_bytes);
    EXPECT_EQ(view->segments[i].kept_count, known[i].kept_count);
    EXPECT_EQ(view->segments[i].reference_count, known[i].reference_count);
    EXPECT_EQ(view->segments[i].is_slab, known[i].is_slab);
    EXPECT_FALSE(view->segments[i].owner_gone);
  }
  EXPECT_EQ(known[0].reference_count, 20u);
  EXPECT_EQ(known[0].kept_count, 1u);
  ASSERT_EQ(view->clients.size(), 2u);
  EXPECT_EQ(view->clients[0].reference_count, 11u);
  EXPECT_EQ(view->clients[1].reference_count, 11u);

  agent.table().client_gone(3);
  const StoreView later = inspect_store(::getpid()).value();
  ASSERT_EQ(later.segments.size(), 2u);  // Nothing keeps the large one.
  EXPECT_TRUE(later.segments[0].owner_gone);
  EXPECT_EQ(later.segments[0].blob_count, 1u);
  EXPECT_EQ(later.clients.size(), 1u);
}

// Of a blob with a segment of its own it is the mappings that count, of each process once.
TEST(InspectStore, SeesWhoHasALargeBlobMapped) {
  TableAgent agent(1 << 16);
  const auto store = agent.make_slab_store(3, kBudget, ::getpid());
  const auto other = agent.make_slab_store(4, kBudget);
  const Blob large = seal(*store, 1 << 20);
  const Result<Blob> again = other->open(large.handle());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(agent.table().snapshot().front().reference_count, 2u);
  const StoreView view = inspect_store(::getpid()).value();
  ASSERT_EQ(view.segments.size(), 1u);
  EXPECT_EQ(view.segments[0].reference_count, 1u);
  EXPECT_EQ(view.clients[0].reference_count, 1u);
  EXPECT_EQ(view.clients[1].reference_count, 0u);
}

TEST(InspectStore, SeesThatNobodyHasALargeBlobMapped) {
  TableAgent agent(1 << 16);
  const auto store = agent.make_slab_store(3, kBudget, ::getpid());
  {
    const Blob large = seal(*store, 1 << 20);
    ASSERT_TRUE(agent.table().keep(large.handle()).ok());
  }
  EXPECT_EQ(agent.table().snapshot().front().reference_count, 0u);
  const StoreView view = inspect_store(::getpid()).value();
  ASSERT_EQ(view.segments.size(), 1u);
  EXPECT_EQ(view.segments[0].reference_count, 0u);
}

TEST(InspectStore, IsEmptyForAProcessWithoutBlobs) {
  const StoreView view = inspect_store(::getpid()).value();
  EXPECT_TRUE(view.segments.empty());
  EXPECT_TRUE(view.clients.empty());
}

TEST(InspectStore, SaysThatThereIsNoSuchProcess) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const Result<StoreView> view = inspect_store(child);
  ASSERT_FALSE(view.has_value());
  EXPECT_EQ(view.error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace pinion
