#include "transport/engine.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/detail/checksum.hpp>

#include "conformance/transport_sides.hpp"
#include "fake_link.hpp"
#include "transport/peer_table.hpp"

namespace pinion::detail {
namespace {

using std::chrono::seconds;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_transport::Blobs;
using testing_transport::FakeLink;
using testing_transport::FakePeer;
using testing_transport::pattern;

struct ToldClock final : IClock {
  Instant now() const noexcept override { return time; }

  Instant time = Instant(seconds(1000));
};

// Host 5, over a link that does nothing: what a peer sends is made here, and time is told.
class TransportEngineTest : public testing::Test {
 protected:
  TransportEngineTest() {
    options_.host = 5;
    options_.window_bytes = 65536;
    options_.handlers = {
        .on_message = [this](std::uint32_t, std::span<const std::byte>) { ++messages_; },
        .on_request = [this](std::uint32_t, std::span<const std::byte>)
            -> Result<std::vector<std::byte>> { return std::vector<std::byte>(reply_bytes_); },
        .on_pull = [this](std::uint32_t, const BlobHandle& handle) { return blobs_.open(handle); },
        .on_peer =
            [this](std::uint32_t host, const Status& reason) {
              said_.push_back(std::to_string(host) + ": " + reason.to_string());
            },
        .on_slow =
            [this](std::uint32_t host, const std::string& reason) {
              slow_.push_back(std::to_string(host) + ": " + reason);
            },
        .on_refusal = [this](const Status& reason) { refusals_.push_back(reason.to_string()); }};
    engine_ = std::make_unique<TransportEngine>(link_, options_, table_, clock_);
  }

  // What `host` says of itself.
  Hello hello_of(std::uint32_t host) {
    return {.host = host,
            .expected_host = 5,
            .incarnation = 77,
            .window_bytes = 65536,
            .pinion_version = PINION_TEST_VERSION,
            .link_version = "fake link 1"};
  }

  FakePeer accept(ConnectionId connection) {
    engine_->on_accepted(connection);
    return {*engine_, connection};
  }

  // A peer that is up.
  FakePeer accept_host(ConnectionId connection, std::uint32_t host) {
    FakePeer peer = accept(connection);
    peer.hello(hello_of(host)).deliver();
    settle();
    EXPECT_EQ(said_.back(), std::to_string(host) + ": OK");
    said_.clear();
    link_.sent.clear();
    return peer;
  }

  void settle() {
    engine_->advance(clock_.now());
    engine_->flush();
  }

  // Time passes as it does for a thread that looks often.
  void pass(Duration span) {
    for (const Instant end = clock_.time + span; clock_.time < end;) {
      clock_.time += options_.keepalive / 4;
      settle();
    }
  }

  std::vector<FrameKind> kinds(ConnectionId connection) {
    std::vector<FrameKind> kinds;
    for (const Frame& frame : link_.frames(connection)) {
      kinds.push_back(frame.header.kind);
    }
    return kinds;
  }

  ToldClock clock_;
  LinkTransportOptions options_;
  FakeLink link_;
  PeerTable table_;
  Blobs blobs_;
  std::size_t reply_bytes_ = 3;
  std::unique_ptr<TransportEngine> engine_;
  unsigned messages_ = 0;
  std::vector<std::string> said_;
  std::vector<std::string> refusals_;
  std::vector<std::string> slow_;
};

TEST_F(TransportEngineTest, GreetsWhoGreets) {
  FakePeer peer = accept(1);
  peer.hello(hello_of(3)).deliver();
  settle();
  EXPECT_THAT(said_, ElementsAre("3: OK"));
  ASSERT_THAT(kinds(1), ElementsAre(FrameKind::kWelcome));
  const Hello welcome = *decode_hello(link_.frames(1)[0].bytes);
  EXPECT_EQ(welcome.host, 5u);
  EXPECT_EQ(welcome.expected_host, 3u);
  EXPECT_EQ(table_.peers()[0].path, "nowhere");
}

TEST_F(TransportEngineTest, RefusesOtherVersionsInWordsOnBothSides) {
  Hello other_pinion = hello_of(3);
  other_pinion.pinion_version = "0.0.1";
  Hello other_link = hello_of(4);
  other_link.link_version = "fake link 2";
  Hello other_protocol = hello_of(3);
  other_protocol.protocol = 99;
  ConnectionId connection = 1;
  for (const Hello& hello : {other_pinion, other_link, other_protocol}) {
    accept(connection).hello(hello).deliver();
    settle();
    const std::vector<Frame> frames = link_.frames(connection);
    ASSERT_EQ(frames.size(), 1u);
    EXPECT_EQ(frames[0].header.kind, FrameKind::kRefuse);
    EXPECT_EQ(frames[0].status().code(), ErrorCode::kFailedPrecondition);
    EXPECT_EQ(frames[0].status().to_string(), refusals_.at(connection - 1));
    EXPECT_TRUE(link_.closed.at(connection));  // Not before the other side has read the words.
    ++connection;
  }
  EXPECT_THAT(refusals_, ElementsAre(HasSubstr("host 3 runs Pinion 0.0.1, host 5 runs"),
                                     HasSubstr("host 4 has fake link 2, host 5 has fake link 1"),
                                     HasSubstr("protocol 99")));
  EXPECT_TRUE(said_.empty());

  accept(10).hello(other_pinion).deliver();
  settle();
  EXPECT_EQ(refusals_.size(), 3u);  // It was said.
}

TEST_F(TransportEngineTest, RefusesGarbage) {
  FakePeer text = accept(1);
  text.frame({.kind = FrameKind::kHello}, pattern(500, 1)).deliver();
  accept(2).frame({.kind = FrameKind::kMessage}, pattern(500, 1)).deliver();
  accept(3);
  engine_->on_batch(3, pattern(1000, 3));
  accept(4);
  engine_->on_batch(4, pattern(3, 3));
  settle();
  EXPECT_THAT(refusals_, testing::UnorderedElementsAre(HasSubstr("that no agent of Pinion sends"),
                                                       HasSubstr("did not introduce itself"),
                                                       HasSubstr("batch 0")));
  EXPECT_EQ(link_.closed.size(), 4u);
  text.frame({.kind = FrameKind::kMessage}).deliver();  // Nothing is heard of it any more.
  EXPECT_EQ(messages_, 0u);
}

TEST_F(TransportEngineTest, GivesUpStrangersWhoSayNothing) {
  accept(1);
  pass(options_.connect_timeout);
  EXPECT_FALSE(link_.closed.at(1));
  EXPECT_THAT(refusals_, ElementsAre(HasSubstr("no greeting came within 10.00 s")));
  for (ConnectionId connection = 2; connection < 300; ++connection) {
    accept(connection);
  }
  EXPECT_EQ(link_.closed.size(), 1u + 298 - 256);
}

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
  reply_bytes_ = kMessageBytesMax - 64;  // So that three of them may wait.
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

TEST_F(TransportEngineTest, LendsSmallBlobsTooWhileMuchWaits) {
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

TEST_F(TransportEngineTest, LendsInChunksAsLongAsTheLinkLikes) {
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

TEST_F(TransportEngineTest, LosesAPeerThatKeepsWhatItWasLent) {
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

TEST_F(TransportEngineTest, ALowerHostThatConnectsToo) {
  engine_->connect(3, "");
  settle();
  EXPECT_THAT(kinds(1000), ElementsAre(FrameKind::kHello));
  FakePeer peer = accept(1);
  peer.hello(hello_of(3)).deliver();
  settle();
  EXPECT_THAT(said_, ElementsAre("3: OK"));
  EXPECT_TRUE(link_.closed.contains(1000));
  engine_->on_lost(1000, Status(ErrorCode::kUnavailable, "gone"));
  EXPECT_EQ(said_.size(), 1u);
}

TEST_F(TransportEngineTest, AHigherHostThatConnectsToo) {
  engine_->connect(8, "");
  accept(1).hello(hello_of(8)).deliver();
  settle();
  EXPECT_EQ(link_.frames(1).back().status().code(), ErrorCode::kAlreadyExists);
  EXPECT_TRUE(said_.empty());
  EXPECT_TRUE(refusals_.empty());
  FakePeer(*engine_, 1000).hello(hello_of(8), FrameKind::kWelcome).deliver();
  EXPECT_THAT(said_, ElementsAre("8: OK"));
}

TEST_F(TransportEngineTest, ALowerHostThatRefusesAsItConnects) {
  for (const bool connects : {true, false}) {
    said_.clear();
    const ConnectionId own = connects ? 1000 : 1001;
    ASSERT_TRUE(table_.begin(3).ok());
    engine_->connect(3, "");
    FakePeer(*engine_, own)
        .error(FrameKind::kRefuse, 0, Status(ErrorCode::kAlreadyExists, "crossed"))
        .deliver();
    settle();
    EXPECT_TRUE(said_.empty());
    EXPECT_EQ(table_.begin(3).code(), ErrorCode::kAlreadyExists);
    if (connects) {
      FakePeer peer = accept(1);
      peer.hello(hello_of(3)).deliver();
      EXPECT_THAT(said_, ElementsAre("3: OK"));
      engine_->on_lost(1, Status(ErrorCode::kUnavailable, "gone"));
    } else {
      pass(options_.connect_timeout + options_.keepalive);
      EXPECT_THAT(said_, ElementsAre(HasSubstr("it was about to connect, and did not")));
    }
  }
}

TEST_F(TransportEngineTest, AHostThatWasStartedAnewTakesThePlaceOfItsLastLife) {
  accept_host(1, 3);
  Hello again = hello_of(3);
  accept(2).hello(again).deliver();
  settle();
  EXPECT_EQ(link_.frames(2).back().status().code(), ErrorCode::kAlreadyExists);
  EXPECT_TRUE(said_.empty());
  again.incarnation = 78;
  accept(3).hello(again).deliver();
  settle();
  EXPECT_THAT(said_, ElementsAre(HasSubstr("it was started anew"), "3: OK"));
  EXPECT_FALSE(link_.closed.at(1));
}

TEST_F(TransportEngineTest, SaysWhyItWasRefused) {
  engine_->connect(3, "");
  FakePeer(*engine_, 1000)
      .error(FrameKind::kRefuse, 0, Status(ErrorCode::kFailedPrecondition, "I am another"))
      .deliver();
  settle();
  EXPECT_THAT(said_, ElementsAre("3: FAILED_PRECONDITION: host 3: it refused: I am another"));
}

}  // namespace
}  // namespace pinion::detail
