// How an engine greets and whom it refuses.

#include "transport/engine.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conformance/transport_sides.hpp"
#include "core/engine_fixture.hpp"
#include "core/fake_link.hpp"
#include "transport/frames.hpp"

namespace pinion::detail {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing_transport::FakePeer;
using testing_transport::pattern;

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

// Each says that it is host 3 in its next life, which would end the connection with host 3.
TEST_F(TransportEngineTest, AStrangerOfAnotherJobLeavesTheHostAloneThatItSaysItIs) {
  FakePeer peer = accept_host(1, 3);
  Hello other_job = hello_of(3);
  other_job.incarnation = 78;
  Hello other_epoch = other_job;
  Hello without_token = other_job;
  other_job.job_key.job = 8;
  other_epoch.job_key.epoch = 3;
  without_token.job_key.proof[31] = std::byte{1};
  ConnectionId connection = 2;
  for (const Hello& hello : {other_job, other_epoch, without_token, other_job}) {
    accept(connection).hello(hello).deliver();
    settle();
    ASSERT_THAT(kinds(connection), ElementsAre(FrameKind::kRefuse));
    EXPECT_TRUE(link_.closed.at(connection));
    ++connection;
  }
  EXPECT_THAT(refusals_,
              ElementsAre(HasSubstr("FAILED_PRECONDITION: host 3 is of job 8, epoch 2, and host 5 "
                                    "of job 7, epoch 2"),
                          HasSubstr("host 3 is of job 7, epoch 3, and host 5 of job 7, epoch 2"),
                          HasSubstr("UNAUTHENTICATED: host 3 says that it is of job 7, epoch 2, "
                                    "and cannot prove it")));
  EXPECT_EQ(link_.frames(4)[0].status().to_string(), refusals_.back());
  EXPECT_TRUE(said_.empty());
  EXPECT_FALSE(link_.closed.contains(1));
  peer.frame({.kind = FrameKind::kMessage}).deliver();
  EXPECT_EQ(messages_, 1u);
}

TEST_F(TransportEngineTest, AStrangerOfAnotherJobDoesNotStopWhatConnectsTheRealHost) {
  engine_->connect(3, "");
  Hello stranger = hello_of(3);
  stranger.job_key.job = 8;
  accept(1).hello(stranger).deliver();
  settle();
  EXPECT_FALSE(link_.closed.contains(1000));
  FakePeer(*engine_, 1000).hello(hello_of(3), FrameKind::kWelcome).deliver();
  EXPECT_THAT(said_, ElementsAre("3: OK"));
}

TEST_F(TransportEngineTest, AHostOfAnotherJobAtTheAddressIsNotTheOneThatWasMeant) {
  engine_->connect(3, "");
  Hello other = hello_of(3);
  other.job_key.proof = {};
  FakePeer(*engine_, 1000).hello(other, FrameKind::kWelcome).deliver();
  settle();
  EXPECT_THAT(said_, ElementsAre(HasSubstr("3: UNAUTHENTICATED: host 3: host 3 says that it is of "
                                           "job 7, epoch 2, and cannot prove it")));
  EXPECT_EQ(table_.find(3), nullptr);
}

TEST_F(TransportEngineTest, NamesNoMoreThanSomeOfManyStrangers) {
  Hello stranger = hello_of(3);
  for (ConnectionId connection = 1; connection <= 1000; ++connection) {
    stranger.job_key.job = 1000 + connection;
    accept(connection).hello(stranger).deliver();
    settle();
  }
  EXPECT_EQ(link_.closed.size(), 1000u);
  EXPECT_EQ(refusals_.size(), 256u);
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
