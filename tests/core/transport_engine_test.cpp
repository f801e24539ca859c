#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/detail/checksum.hpp>

#include "conformance/transport_sides.hpp"
#include "core/engine_fixture.hpp"
#include "core/fake_link.hpp"
#include "transport/peer_table.hpp"

namespace pinion::detail {
namespace {

using std::chrono::seconds;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_transport::FakePeer;
using testing_transport::pattern;

TEST_F(TransportEngineTest, LosesAPeerThatBreaksTheProtocol) {
  using Break = std::function<void(FakePeer&)>;
  const std::pair<const char*, Break> breaks[] = {
      {"batch 1 was expected", [](FakePeer& peer) { peer.deliver_as(7); }},
      {"no whole frames",
       [](FakePeer& peer) { peer.frame({.kind = static_cast<FrameKind>(99)}).deliver(); }},
      {"introduced itself once more",
       [this](FakePeer& peer) { peer.hello(hello_of(3)).deliver(); }},
      {"credit for what was never sent",
       [](FakePeer& peer) { peer.frame({.kind = FrameKind::kCredit, .id = 1}).deliver(); }},
      {"something that is no handle",
       [](FakePeer& peer) { peer.frame({.kind = FrameKind::kPull}, pattern(7, 1)).deliver(); }},
      {"two blobs under one number",
       [this](FakePeer& peer) {
         const BlobHandle handle = blobs_.add(5, pattern(100'000, 1));
         const auto bytes = std::as_bytes(std::span(&handle, 1));
         peer.frame({.kind = FrameKind::kPull, .id = 1}, bytes)
             .frame({.kind = FrameKind::kPull, .id = 1}, bytes)
             .deliver();
       }},
      {"bytes behind the end of a blob",
       [this](FakePeer& peer) {
         const BlobPart part = {blobs_.add(5, pattern(100, 1)), 90, 11};
         peer.frame({.kind = FrameKind::kPull, .id = 1}, std::as_bytes(std::span(&part, 1)))
             .deliver();
       }},
      {"it has ended",
       [](FakePeer& peer) { peer.frame({.kind = FrameKind::kGoodbye}).deliver(); }}};
  ConnectionId connection = 1;
  for (const auto& [words, break_it] : breaks) {
    FakePeer peer = accept_host(connection, 3);
    break_it(peer);
    settle();
    EXPECT_THAT(said_, ElementsAre(AllOf(HasSubstr("3: UNAVAILABLE: host 3"), HasSubstr(words))));
    EXPECT_FALSE(link_.closed.at(connection));
    EXPECT_EQ(table_.find(3), nullptr);
    ++connection;
  }
}

TEST_F(TransportEngineTest, GivesCreditForWhatItTook) {
  FakePeer peer = accept_host(1, 3);
  for (int i = 0; i < 3; ++i) {
    peer.frame({.kind = FrameKind::kMessage}, pattern(5000, 1)).deliver();
  }
  settle();
  EXPECT_TRUE(link_.frames(1).empty());  // Less than a quarter of the window.
  peer.frame({.kind = FrameKind::kRequest}, pattern(5000, 1)).deliver();
  settle();
  ASSERT_THAT(kinds(1), ElementsAre(FrameKind::kCredit, FrameKind::kReply));
  EXPECT_EQ(link_.frames(1)[0].header.id, 4u * 5064);
  EXPECT_EQ(messages_, 3u);
}

TEST_F(TransportEngineTest, SendsTogetherWhatWasSaidTogetherOrWhileTheWayWasFull) {
  accept_host(1, 3);
  const std::shared_ptr<PeerLine> line = table_.find(3);
  const auto say = [&](std::size_t count, std::size_t size) {
    for (std::size_t i = 0; i < count; ++i) {
      engine_->send(*line, pattern(size, 1));
    }
    engine_->flush();
  };
  say(10, 100);
  EXPECT_EQ(link_.sent.at(1).size(), 1u);
  EXPECT_EQ(kinds(1), std::vector<FrameKind>(10, FrameKind::kMessage));
  say(1, 300'000);
  say(10, 100);
  say(10, 100);
  EXPECT_EQ(link_.sent.at(1).size(), 2u) << "what was sent before has yet to leave";
  engine_->on_sent(1, link_.sent.at(1)[1].size());
  engine_->flush();
  ASSERT_EQ(link_.sent.at(1).size(), 3u);
  EXPECT_EQ(kinds(1).size(), 10u + 1 + 20);
}

TEST_F(TransportEngineTest, DoesNotHoardRepliesForAPeerThatReadsNone) {
  FakePeer peer = accept_host(1, 3);
  reply_bytes_ = kMessageBytesMax;
  for (std::uint64_t id = 1; id <= 6; ++id) {
    peer.frame({.kind = FrameKind::kRequest, .id = id}).deliver();
    settle();
  }
  // The first left, of the others as many wait as may.
  engine_->on_sent(1, link_.sent.at(1)[0].size());
  settle();
  std::vector<std::uint8_t> errors;
  for (const Frame& frame : link_.frames(1)) {
    errors.push_back(frame.header.error);
  }
  const auto full = static_cast<std::uint8_t>(ErrorCode::kResourceExhausted);
  EXPECT_THAT(errors, ElementsAre(0, 0, full, full, full, full));
}

TEST_F(TransportEngineTest, LosesAPeerThatReadsNothingAndGoesOnAsking) {
  FakePeer peer = accept_host(1, 3);
  reply_bytes_ = kMessageBytesMax - 1024;  // So that three of them may wait, with what greets.
  for (std::uint64_t id = 1; id <= 3; ++id) {
    peer.frame({.kind = FrameKind::kRequest, .id = id}).deliver();
  }
  const BlobHandle absent = {.length_bytes = 1, .host = 5, .index = 77};
  const auto handle = std::as_bytes(std::span(&absent, 1));
  std::uint64_t asked = 0;
  for (; said_.empty() && asked < 2'000'000; asked += 1000) {
    for (std::uint64_t id = asked; id < asked + 1000; ++id) {
      peer.frame({.kind = FrameKind::kPull, .id = 10 + id}, handle);
    }
    peer.deliver();
    engine_->advance(clock_.now());
  }
  EXPECT_THAT(said_, ElementsAre(HasSubstr("it does not read what it asks for; 256")));
}

TEST_F(TransportEngineTest, TakesASmallBlobThatWasLentAndGivesItBack) {
  accept_host(1, 3);
  const auto bytes = pattern(100, 1);
  const BlobHandle handle = {.length_bytes = bytes.size(), .host = 3};
  testing_transport::Pulled pulled;
  engine_->pull(handle, blobs_.writer(handle),
                [&](Result<Blob> blob) { pulled.set(std::move(blob)); });
  settle();
  const ChunkHeader chunk = {
      .pull = link_.frames(1)[0].header.id, .length = bytes.size(), .checksum = checksum(bytes)};
  std::ranges::copy(bytes, engine_->on_chunk(1, chunk).bytes.begin());
  engine_->on_chunk_arrived(1, chunk);
  settle();
  EXPECT_TRUE(pulled.wait().has_value());
  EXPECT_THAT(kinds(1), ElementsAre(FrameKind::kPull, FrameKind::kPullEnd));
}

TEST_F(TransportEngineTest, SaysOnceThatABetterWayIsThere) {
  link_.path_to = {.name = "cable", .slow = "fibre is there"};
  accept_host(1, 3);
  accept_host(2, 4);
  EXPECT_THAT(slow_, ElementsAre("3: fibre is there"));
  EXPECT_EQ(table_.peers()[0].slow, "fibre is there");
  EXPECT_EQ(table_.peers()[1].slow, "fibre is there");
}

TEST_F(TransportEngineTest, SaysThatBlobsComeMoreSlowlyThanTheyShould) {
  // A chunk of 1 MiB each half of a second.
  const auto pull = [this](std::uint32_t host) {
    const BlobHandle handle = {.length_bytes = 8 << 20, .host = host};
    engine_->pull(handle, blobs_.writer(handle), [](const Result<Blob>&) {});
    settle();
    const ConnectionId connection = host;
    const std::uint64_t id = link_.frames(connection)[0].header.id;
    for (std::uint64_t at = 0; at < handle.length_bytes; at += 1 << 20) {
      ChunkHeader chunk = {.pull = id, .offset = at, .length = 1 << 20};
      chunk.checksum = checksum(engine_->on_chunk(connection, chunk).bytes);
      pass(std::chrono::milliseconds(500));
      engine_->on_chunk_arrived(connection, chunk);
    }
  };
  link_.path_to = {.name = "cable", .bytes_per_second = 10'000'000};
  accept_host(3, 3);
  pull(3);
  EXPECT_THAT(slow_, ElementsAre());
  const Peer quick = table_.peers()[0];
  EXPECT_EQ(quick.path_bytes_per_second, 10'000'000u);
  EXPECT_EQ(quick.bulk_bytes, 8u << 20);
  EXPECT_EQ(quick.bulk_time, seconds(4));
  EXPECT_EQ(quick.slow, "");

  // What is under way on two ways at once may have half of each.
  link_.path_to = {.name = "fibre", .bytes_per_second = 50'000'000};
  accept_host(4, 4);
  pull(4);
  EXPECT_THAT(slow_, ElementsAre(AllOf(HasSubstr("4: blobs come at "),
                                       HasSubstr("and fibre should carry "))));
  EXPECT_EQ("4: " + table_.peers()[1].slow, slow_.at(0));
}

TEST_F(TransportEngineTest, AsksAPeerThatIsSilentBeforeItGivesItUp) {
  FakePeer peer = accept_host(1, 3);
  pass(options_.keepalive * 3 / 2);
  EXPECT_THAT(kinds(1), ElementsAre(FrameKind::kPing));
  peer.frame({.kind = FrameKind::kPong}).deliver();
  pass(options_.keepalive * 5 / 2);
  EXPECT_THAT(kinds(1), ElementsAre(FrameKind::kPing, FrameKind::kPing));
  EXPECT_TRUE(said_.empty());
  pass(options_.keepalive);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("nothing was heard of it for 6")));
  EXPECT_FALSE(link_.closed.at(1));
}

TEST_F(TransportEngineTest, AnswersWhoAsks) {
  accept_host(1, 3).frame({.kind = FrameKind::kPing}).deliver();
  settle();
  EXPECT_THAT(kinds(1), ElementsAre(FrameKind::kPong));
}

TEST_F(TransportEngineTest, DeclaresNobodyGoneAfterItWasStoppedItself) {
  accept_host(1, 3);
  clock_.time += seconds(3600);
  settle();
  pass(options_.keepalive);
  EXPECT_TRUE(said_.empty());
}

TEST_F(TransportEngineTest, LosesAPeerWhosePullsDoNotMove) {
  FakePeer peer = accept_host(1, 3);
  const BlobHandle handle = {.length_bytes = 100'000, .host = 3};
  testing_transport::Pulled pulled;
  engine_->pull(handle, blobs_.writer(handle),
                [&](Result<Blob> blob) { pulled.set(std::move(blob)); });
  for (int i = 0; i < 14; ++i) {
    pass(options_.keepalive);
    peer.frame({.kind = FrameKind::kPing}).deliver();
  }
  EXPECT_TRUE(said_.empty());
  pass(options_.keepalive * 2);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("no pull moved for 30")));
  EXPECT_EQ(pulled.wait().error().code(), ErrorCode::kUnavailable);
}

TEST_F(TransportEngineTest, TakesChunksInTheirOrderOnly) {
  accept_host(1, 3);
  const BlobHandle handle = {.length_bytes = 100'000, .host = 3};
  testing_transport::Pulled pulled;
  engine_->pull(handle, blobs_.writer(handle),
                [&](Result<Blob> blob) { pulled.set(std::move(blob)); });
  settle();
  const std::uint64_t id = link_.frames(1)[0].header.id;
  EXPECT_EQ(engine_->on_chunk(1, {.pull = id + 1, .length = 5}).keep_alive, nullptr);
  EXPECT_EQ(engine_->on_chunk(2, {.pull = id, .length = 5}).keep_alive, nullptr);
  EXPECT_EQ(engine_->on_chunk(1, {.pull = id, .length = 60'000}).bytes.size(), 60'000u);
  settle();
  EXPECT_TRUE(said_.empty());
  for (const ChunkHeader& wrong :
       {ChunkHeader{.pull = id, .offset = 60'000, .length = 40'001},
        ChunkHeader{.pull = id, .offset = 60'000, .length = ~std::uint64_t{0}},
        ChunkHeader{.pull = id, .offset = 60'000, .length = 0},
        ChunkHeader{.pull = id, .offset = 0, .length = 5}}) {
    EXPECT_EQ(engine_->on_chunk(1, wrong).keep_alive, nullptr);
  }
  settle();
  EXPECT_THAT(said_, ElementsAre(HasSubstr("of which it had sent 60000")));
  EXPECT_FALSE(pulled.wait().has_value());
  EXPECT_EQ(blobs_.sealed(), 0u);
}

TEST_F(TransportEngineTest, RepliesOfOthersAndLateOnesAreForNobody) {
  FakePeer three = accept_host(1, 3);
  FakePeer four = accept_host(2, 4);
  testing_transport::Reply reply;
  engine_->request(3, {}, seconds(1),
                   [&](Result<std::vector<std::byte>> result) { reply.set(std::move(result)); });
  settle();
  const std::uint64_t id = link_.frames(1)[0].header.id;
  four.frame({.kind = FrameKind::kReply, .id = id}).deliver();
  three.frame({.kind = FrameKind::kReply, .id = id + 1}).deliver();
  pass(seconds(2));
  EXPECT_EQ(reply.wait().error().code(), ErrorCode::kDeadlineExceeded);
  three.frame({.kind = FrameKind::kReply, .id = id}).deliver();
  settle();
  EXPECT_TRUE(said_.empty());
}

}  // namespace
}  // namespace pinion::detail
