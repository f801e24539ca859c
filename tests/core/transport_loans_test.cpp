// What a host lends, in what pieces, and for how long.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine_fixture.hpp"

namespace pinion::detail {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing_transport::FakePeer;
using testing_transport::pattern;

class LendingEngineTest : public TransportEngineTest {};

TEST_F(LendingEngineTest, LendsSmallBlobsTooWhileMuchWaits) {
  FakePeer peer = accept_host(1, 3);
  const BlobHandle small = blobs_.add(5, pattern(100, 1));
  const BlobHandle empty = blobs_.add(5, {});
  reply_bytes_ = 1 << 20;
  peer.frame({.kind = FrameKind::kRequest, .id = 1})
      .frame({.kind = FrameKind::kPull, .id = 2}, std::as_bytes(std::span(&small, 1)))
      .frame({.kind = FrameKind::kPull, .id = 3}, std::as_bytes(std::span(&empty, 1)))
      .deliver();
  settle();
  EXPECT_THAT(kinds(1), ElementsAre(FrameKind::kReply, FrameKind::kPullBytes));
  ASSERT_EQ(link_.chunks.at(1).size(), 1u);
  EXPECT_EQ(link_.chunks.at(1)[0].length, 100u);
}

TEST_F(LendingEngineTest, LendsInChunksAsLongAsTheLinkLikes) {
  link_.bytes_of_chunks = 60'000;  // No whole pages.
  FakePeer peer = accept_host(1, 3);
  const BlobHandle handle = blobs_.add(5, pattern(500'001, 1));
  peer.frame({.kind = FrameKind::kPull, .id = 9}, std::as_bytes(std::span(&handle, 1))).deliver();
  std::uint64_t sent = 0;
  for (std::size_t i = 0; sent < handle.length_bytes; ++i) {
    settle();
    ASSERT_LT(i, link_.chunks[1].size()) << "nothing comes after " << sent << " bytes";
    const ChunkHeader chunk = link_.chunks[1][i];
    EXPECT_EQ(chunk.offset, sent);
    EXPECT_LE(chunk.length, link_.bytes_of_chunks);
    sent += chunk.length;
    engine_->on_chunk_sent(1, chunk);
  }
  settle();
  EXPECT_EQ(sent, handle.length_bytes);
  EXPECT_EQ(link_.chunks[1].size(), 9u);
}

TEST_F(LendingEngineTest, LosesAPeerThatKeepsWhatItWasLent) {
  FakePeer peer = accept_host(1, 3);
  const BlobHandle handle = blobs_.add(5, pattern(100'000, 1));
  peer.frame({.kind = FrameKind::kPull, .id = 9}, std::as_bytes(std::span(&handle, 1))).deliver();
  settle();
  ASSERT_EQ(link_.chunks.at(1).size(), 1u);
  engine_->on_chunk_sent(1, link_.chunks.at(1)[0]);
  for (int i = 0; i < 16; ++i) {
    pass(options_.keepalive);
    peer.frame({.kind = FrameKind::kPing}).deliver();
  }
  settle();
  EXPECT_THAT(said_, ElementsAre(HasSubstr("no pull moved for 30")));
}

}  // namespace
}  // namespace pinion::detail
