// Those who reach an agent over UCX and are none, or one of another version: refused in words,
// once, and everybody else notices nothing.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/clock.hpp>
#include <pinion/core/detail/link.hpp>
#include <pinion/ucx/ucx_transport.hpp>

#include "conformance/transport_sides.hpp"
#include "transport/frames.hpp"
#include "ucx_link.hpp"

namespace pinion {
namespace {

using detail::ChunkHeader;
using detail::ChunkTarget;
using detail::ConnectionId;
using detail::FrameKind;
using testing::HasSubstr;
using testing_transport::Bytes;
using testing_transport::pattern;
using testing_transport::Side;

// A link alone, which says what a test wants and keeps what it hears.
class Stranger final : public detail::ILinkEvents {
 public:
  explicit Stranger(const std::string& address)
      : link_(*make_ucx_link({.listen_address = "127.0.0.1"})),
        connection_(*link_->open(address)) {}

  void say(Bytes batch) { link_->send(connection_, std::move(batch)); }
  void say(FrameKind kind, std::span<const std::byte> bytes) {
    Bytes frames;
    detail::append_frame(frames, {.kind = kind}, bytes);
    const detail::BatchHeader header = {.sequence = said_++,
                                        .length = static_cast<std::uint32_t>(frames.size())};
    Bytes batch(sizeof(header));
    std::memcpy(batch.data(), &header, sizeof(header));
    batch.insert(batch.end(), frames.begin(), frames.end());
    say(std::move(batch));
  }

  void wait_until_lost() {
    while (!lost_) {
      step();
    }
  }
  /// The words of the first frame that it hears, which is an error.
  std::string wait_for_words() {
    while (words_.empty()) {
      step();
    }
    return words_;
  }

  void on_accepted(ConnectionId /*connection*/) override {}
  void on_batch(ConnectionId /*connection*/, std::span<const std::byte> batch) override {
    detail::FrameReader reader(batch.subspan(sizeof(detail::BatchHeader)));
    if (const auto frame = reader.next(); frame && words_.empty()) {
      words_ = frame->status().to_string();
    }
  }
  void on_sent(ConnectionId /*connection*/, std::uint64_t /*bytes*/) override {}
  ChunkTarget on_chunk(ConnectionId /*connection*/, const ChunkHeader& /*header*/) override {
    return {};
  }
  void on_chunk_arrived(ConnectionId /*connection*/, const ChunkHeader& /*header*/) override {}
  void on_chunk_sent(ConnectionId /*connection*/, const ChunkHeader& /*header*/) override {}
  void on_lost(ConnectionId /*connection*/, const Status& /*reason*/) override { lost_ = true; }

 private:
  void step() {
    if (!link_->progress(*this)) {
      link_->wait(clock_.now() + std::chrono::milliseconds(1));
    }
  }

  const SystemClock clock_{};
  const std::unique_ptr<detail::ILink> link_;
  const ConnectionId connection_;
  std::uint32_t said_ = 0;
  bool lost_ = false;
  std::string words_;
};

constexpr JobKey kKey = {.job = 1, .epoch = 1, .proof = {std::byte{7}}};

class UcxStranger : public testing::Test {
 protected:
  UcxStranger() {
    for (Side* const side : {&one_, &two_}) {
      side->transport = *create_ucx_transport({.host = side->host,
                                               .listen_address = "127.0.0.1",
                                               .keepalive = std::chrono::seconds(60),
                                               .connect_timeout = std::chrono::seconds(60),
                                               .job_key = kKey,
                                               .handlers = side->handlers()});
    }
    EXPECT_TRUE(one_.transport->connect(2, two_.transport->address()).ok());
    EXPECT_TRUE(one_.wait_for_peer(2, 1).ok());
  }

  // Nobody else has noticed.
  void others_go_on() {
    EXPECT_EQ(*one_.request(2, pattern(9, 1))->wait(), pattern(9, 1));
    EXPECT_EQ(*two_.request(1, pattern(8, 1))->wait(), pattern(8, 1));
    EXPECT_EQ(one_.peer_events(2), 1u);
    EXPECT_EQ(one_.transport->peers().size(), 1u);
  }

  [[nodiscard]] detail::Hello hello() const {
    return {.host = 3,
            .expected_host = 1,
            .incarnation = 1,
            .window_bytes = 65536,
            .job_key = kKey,
            .pinion_version = "0.0.1",
            .link_version = "a link"};
  }

  Side one_{1};
  Side two_{2};
};

TEST_F(UcxStranger, ThatTalksGarbageIsCutOffAndNamedOnce) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    Stranger stranger(one_.transport->address());
    stranger.say(pattern(seed * 10'000, seed));
    stranger.wait_until_lost();
    others_go_on();
  }
  const std::vector<Status> refusals = one_.wait_for_refusals(1);
  ASSERT_EQ(refusals.size(), 1u);
  EXPECT_THAT(std::string(refusals[0].message()), HasSubstr("somebody who connected"));
}

TEST_F(UcxStranger, OfAnOlderProtocolIsToldWhyAndNamedOnce) {
  detail::Hello older = hello();
  older.protocol = detail::kProtocolVersion - 1;
  for (int i = 0; i < 3; ++i) {
    Stranger stranger(one_.transport->address());
    stranger.say(FrameKind::kHello, encode(older));
    EXPECT_THAT(stranger.wait_for_words(), HasSubstr("it speaks protocol 1, this host protocol 2"));
    others_go_on();
  }
  EXPECT_EQ(one_.wait_for_refusals(1).size(), 1u);
}

TEST_F(UcxStranger, OfAnotherVersionIsToldWhatToInstall) {
  Stranger stranger(one_.transport->address());
  stranger.say(FrameKind::kHello, encode(hello()));
  EXPECT_THAT(stranger.wait_for_words(), HasSubstr("host 3 runs Pinion 0.0.1, host 1 runs"));
  EXPECT_THAT(std::string(one_.wait_for_refusals(1)[0].message()), HasSubstr("Pinion 0.0.1"));
  others_go_on();
}

// An agent that is right in all but its job, and has the number of a host that is connected.
TEST_F(UcxStranger, OfAnotherJobWithTheNumberOfAHostLeavesThatHostAlone) {
  for (int i = 0; i < 3; ++i) {
    Side stranger{2};
    stranger.transport =
        *create_ucx_transport({.host = 2,
                               .listen_address = "127.0.0.1",
                               .connect_timeout = std::chrono::seconds(60),
                               .job_key = {.job = 2, .epoch = 1, .proof = {std::byte{8}}},
                               .handlers = stranger.handlers()});
    ASSERT_TRUE(stranger.transport->connect(1, one_.transport->address()).ok());
    EXPECT_THAT(stranger.wait_for_peer(1, 1).to_string(),
                HasSubstr("host 2 is of job 2, epoch 1, and host 1 of job 1, epoch 1"));
    others_go_on();
  }
  EXPECT_EQ(one_.wait_for_refusals(1).size(), 1u);
  EXPECT_EQ(two_.peer_events(1), 1u);
}

TEST_F(UcxStranger, ThatPullsBeforeItsGreetingGetsNothing) {
  const BlobHandle handle = one_.blobs.add(1, pattern(100, 1));
  Stranger stranger(one_.transport->address());
  stranger.say(FrameKind::kPull, std::as_bytes(std::span(&handle, 1)));
  stranger.wait_until_lost();
  EXPECT_THAT(std::string(one_.wait_for_refusals(1)[0].message()),
              HasSubstr("did not introduce itself"));
  others_go_on();
}

}  // namespace
}  // namespace pinion
