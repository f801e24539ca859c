// What a host lends, in what pieces, and for how long.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine_fixture.hpp"

namespace pinion::detail {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_transport::FakePeer;
using testing_transport::pattern;

class LendingEngineTest : public TransportEngineTest {
 protected:
  // Of `peer`, of host 3 and connection 1, under that number.
  void pull(FakePeer& peer, std::uint64_t id, const BlobHandle& handle) {
    peer.frame({.kind = FrameKind::kPull, .id = id}, std::as_bytes(std::span(&handle, 1)))
        .deliver();
    settle();
  }

  // What the owner has said of the end of a loan.
  std::vector<std::uint64_t> ends_said() {
    std::vector<std::uint64_t> ids;
    for (const Frame& frame : link_.frames(1)) {
      if (frame.header.kind == FrameKind::kPullEnd) {
        EXPECT_EQ(frame.status().code(), ErrorCode::kUnavailable);
        ids.push_back(frame.header.id);
      }
    }
    return ids;
  }

  // For each keepalive of `span` a blob is pulled, taken and given back.
  void let_others_move(FakePeer& peer, Duration span) {
    for (const Instant end = clock_.time + span; clock_.time < end;) {
      const std::uint64_t id = ++last_id_;
      pull(peer, id, other_);
      engine_->on_chunk_sent(1, link_.chunks.at(1).back());
      peer.frame({.kind = FrameKind::kPullEnd, .id = id}).deliver();
      pass(options_.keepalive);
    }
  }

  const BlobHandle other_ = blobs_.add(5, pattern(50'000, 1));
  std::uint64_t last_id_ = 1000;
};

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

TEST_F(LendingEngineTest, EndsALoanThatIsNotGivenBackWhileOthersMove) {
  FakePeer peer = accept_host(1, 3);
  auto bytes = std::make_shared<const testing_transport::Bytes>(pattern(100'000, 1));
  const std::weak_ptr<const testing_transport::Bytes> kept = bytes;
  const auto open = std::exchange(open_, [&bytes](const BlobHandle& handle) -> Result<Blob> {
    const std::span<const std::byte> span = *bytes;
    return Blob(handle, {}, span, std::exchange(bytes, nullptr));  // The only reference.
  });
  pull(peer, 9, {.length_bytes = 100'000, .host = 5});
  open_ = open;
  engine_->on_chunk_sent(1, link_.chunks.at(1).back());
  let_others_move(peer, options_.pull_timeout - options_.keepalive);
  EXPECT_FALSE(kept.expired());
  EXPECT_THAT(ends_said(), ElementsAre());
  let_others_move(peer, options_.keepalive * 2);
  EXPECT_TRUE(kept.expired());
  EXPECT_THAT(ends_said(), ElementsAre(9));

  peer.frame({.kind = FrameKind::kPullEnd, .id = 9}).deliver();  // It comes too late.
  let_others_move(peer, options_.pull_timeout * 2);
  EXPECT_THAT(ends_said(), ElementsAre(9));
  EXPECT_THAT(said_, ElementsAre());
}

TEST_F(LendingEngineTest, HoldsALoanThatWaitsForItsTurn) {
  FakePeer peer = accept_host(1, 3);
  constexpr std::uint64_t kCount = 40;
  for (std::uint64_t id = 0; id < kCount; ++id) {
    pull(peer, id, other_);
  }
  for (std::uint64_t id = 0; id < kCount; ++id) {
    pass(options_.keepalive);
    ASSERT_GT(link_.chunks.at(1).size(), id) << "nothing comes after so many";
    engine_->on_chunk_sent(1, link_.chunks.at(1)[id]);
    peer.frame({.kind = FrameKind::kPullEnd, .id = link_.chunks.at(1)[id].pull}).deliver();
    settle();
  }
  ASSERT_GT(options_.keepalive * (kCount - 8), options_.pull_timeout);
  EXPECT_EQ(link_.chunks.at(1).size(), kCount);
  EXPECT_THAT(ends_said(), ElementsAre());
  EXPECT_THAT(said_, ElementsAre());
}

// Its bytes cannot be taken back from the link.
TEST_F(LendingEngineTest, LosesAPeerThatDoesNotTakeAChunkWhileOthersMove) {
  FakePeer peer = accept_host(1, 3);
  pull(peer, 9, other_);
  let_others_move(peer, options_.pull_timeout * 4 - options_.keepalive);
  EXPECT_THAT(said_, ElementsAre());
  pass(options_.keepalive * 2);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("it pulls a blob and does not take its bytes")));
  EXPECT_THAT(ends_said(), ElementsAre());
}

// Also where the peer says that it wants no more of it: the link has them all the same.
TEST_F(LendingEngineTest, LosesAPeerThatDoesNotTakeAChunkOfWhatItGaveBack) {
  FakePeer peer = accept_host(1, 3);
  pull(peer, 9, other_);
  peer.frame({.kind = FrameKind::kPullEnd, .id = 9}).deliver();
  let_others_move(peer, options_.pull_timeout * 4 + options_.keepalive);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("it pulls a blob and does not take its bytes")));
}

TEST_F(LendingEngineTest, HoldsALoanOnAfterItWasStoppedItself) {
  FakePeer peer = accept_host(1, 3);
  pull(peer, 9, other_);
  engine_->on_chunk_sent(1, link_.chunks.at(1)[0]);
  pull(peer, 10, other_);
  clock_.time += seconds(3600);
  settle();
  EXPECT_THAT(ends_said(), ElementsAre());
  EXPECT_THAT(said_, ElementsAre());
}

TEST_F(LendingEngineTest, EndsAPullThatItsOwnerHasGivenUp) {
  FakePeer peer = accept_host(1, 3);
  const BlobHandle handle = {.length_bytes = 100'000, .host = 3};
  testing_transport::Pulled pulled;
  engine_->pull(handle, blobs_.writer(handle),
                [&](Result<Blob> blob) { pulled.set(std::move(blob)); });
  settle();
  const std::uint64_t id = link_.frames(1)[0].header.id;
  const ChunkTarget under_way = engine_->on_chunk(1, {.pull = id, .length = 60'000});
  EXPECT_EQ(under_way.bytes.size(), 60'000u);
  peer.error(FrameKind::kPullEnd, id, Status(ErrorCode::kUnavailable, "given up")).deliver();
  EXPECT_EQ(pulled.wait().error().message(), "given up");
  std::ranges::fill(under_way.bytes, std::byte{1});  // The link may still write.
  EXPECT_EQ(engine_->on_chunk(1, {.pull = id, .offset = 60'000, .length = 40'000}).keep_alive,
            nullptr);
  settle();
  EXPECT_EQ(blobs_.sealed(), 0u);
  EXPECT_THAT(said_, ElementsAre());
  EXPECT_THAT(kinds(1), ElementsAre(FrameKind::kPull));
}

}  // namespace
}  // namespace pinion::detail
