// Hosts as processes: killed, stopped, cut off.

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/clock.hpp>
#include <pinion/core/detail/link_transport.hpp>
#include <pinion/ucx/ucx_transport.hpp>

#include "conformance/transport_sides.hpp"
#include "peer_process.hpp"
#include "ucx_link.hpp"

namespace pinion {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::StartsWith;
using testing_transport::PeerProcess;
using testing_transport::Side;

// Host 1 is this process, host 2 another one.
class UcxLoss : public testing::Test {
 protected:
  void connect(Duration keepalive) {
    one_.transport = *create_ucx_transport({.host = 1,
                                            .listen_address = "127.0.0.1",
                                            .keepalive = keepalive,
                                            .handlers = one_.handlers()});
    ASSERT_TRUE(one_.transport->connect(2, two_.hear("address")).ok());
    ASSERT_TRUE(one_.wait_for_peer(2, 1).ok());
    EXPECT_EQ(two_.hear("peer"), "1 OK");
  }

  const SystemClock clock_{};
  PeerProcess two_{{UCX_PEER, "2", "127.0.0.1", "60000"}};
  Side one_{1};
};

TEST_F(UcxLoss, AHostThatIsKilledIsGoneWithAllThatIsUnderWay) {
  // The keepalive is not what finds it.
  connect(std::chrono::hours(1));
  std::vector<std::shared_ptr<testing_transport::Pulled>> pulls;
  for (int i = 0; i < 4; ++i) {
    pulls.push_back(one_.pull({.length_bytes = std::uint64_t{64} << 20, .host = 2}));
  }
  const auto small = one_.pull({.length_bytes = 1000, .host = 2});
  const auto reply = one_.request(2, {});
  two_.kill(SIGKILL);
  for (const auto& pulled : pulls) {
    EXPECT_TRUE(pulled->wait().has_value() ||
                pulled->wait().error().code() == ErrorCode::kUnavailable);
  }
  EXPECT_TRUE(small->wait().has_value() || small->wait().error().code() == ErrorCode::kUnavailable);
  EXPECT_TRUE(reply->wait().has_value() || reply->wait().error().code() == ErrorCode::kUnavailable);
  const Status gone = one_.wait_for_peer(2, 2);
  EXPECT_EQ(gone.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(std::string(gone.message()), HasSubstr("host 2: "));
}

TEST_F(UcxLoss, AHostThatIsKilledInTheMidstOfAPull) {
  // Its first piece has arrived, and what lies in the buffers between is a small part of the rest.
  Result<std::unique_ptr<detail::ILink>> link = make_ucx_link({.listen_address = "127.0.0.1"});
  ASSERT_TRUE(link.has_value()) << link.error().to_string();
  one_.transport = *detail::make_link_transport(
      *std::move(link), {.host = 1,
                         .keepalive = std::chrono::hours(1),
                         .handlers = one_.handlers(),
                         .damage = [this](std::span<std::byte>) { two_.kill(SIGKILL); }});
  ASSERT_TRUE(one_.transport->connect(2, two_.hear("address")).ok());
  ASSERT_TRUE(one_.wait_for_peer(2, 1).ok());
  const auto pulled = one_.pull({.length_bytes = std::uint64_t{256} << 20, .host = 2});
  EXPECT_EQ(pulled->wait().error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(one_.wait_for_peer(2, 2).code(), ErrorCode::kUnavailable);
  EXPECT_EQ(one_.blobs.sealed(), 0u);
}

TEST_F(UcxLoss, AHostThatIsStoppedIsLateAndNotGone) {
  connect(std::chrono::seconds(60));
  EXPECT_TRUE(one_.request(2, {})->wait().has_value());
  two_.stop();
  const auto late = one_.request(2, {}, milliseconds(100));
  const auto pulled = one_.pull({.length_bytes = 5 << 20, .host = 2});
  EXPECT_EQ(late->wait().error().code(), ErrorCode::kDeadlineExceeded);
  EXPECT_TRUE(one_.transport->peers()[0].reachable);
  two_.kill(SIGCONT);
  EXPECT_TRUE(one_.request(2, {})->wait().has_value());
  EXPECT_TRUE(pulled->wait().has_value());
  EXPECT_EQ(one_.peer_events(2), 1u);
}

TEST_F(UcxLoss, AHostThatStaysStoppedIsGoneInItsTime) {
  constexpr Duration kKeepalive = std::chrono::seconds(1);
  connect(kKeepalive);
  const Instant alive = clock_.now();
  EXPECT_TRUE(one_.request(2, {})->wait().has_value());
  two_.stop();
  const auto pulled = one_.pull({.length_bytes = 5 << 20, .host = 2});
  EXPECT_EQ(one_.wait_for_peer(2, 2).code(), ErrorCode::kUnavailable);
  EXPECT_GE(clock_.now() - alive, 3 * kKeepalive);
  EXPECT_EQ(pulled->wait().error().code(), ErrorCode::kUnavailable);
  // Once it goes on, it finds that it was given up, and may be connected anew.
  two_.kill(SIGCONT);
  EXPECT_THAT(two_.hear("peer"), StartsWith("1 UNAVAILABLE"));
  two_.tell("connect 1 " + one_.transport->address());
  EXPECT_EQ(two_.hear("connecting"), "OK");
  EXPECT_TRUE(one_.wait_for_peer(2, 3).ok());
  EXPECT_TRUE(one_.request(2, {})->wait().has_value());
}

TEST_F(UcxLoss, AHostThatStopsReadingIsSentNoMoreThanItsWindow) {
  connect(std::chrono::seconds(60));
  two_.stop();
  const testing_transport::Bytes message = testing_transport::pattern(100'000, 1);
  Status status;
  for (std::size_t accepted = 0; status.ok(); ++accepted) {
    ASSERT_LE(accepted * message.size(), 5u << 20);
    status = one_.transport->send(2, message);
  }
  EXPECT_EQ(status.code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(one_.request(2, message)->wait().error().code(), ErrorCode::kResourceExhausted);
  two_.kill(SIGCONT);
  one_.send(2, message);
  EXPECT_TRUE(one_.request(2, {})->wait().has_value());
}

TEST_F(UcxLoss, EndsWhileAPeerIsStopped) {
  connect(std::chrono::seconds(60));
  const auto pulled = one_.pull({.length_bytes = 64 << 20, .host = 2});
  two_.stop();
  const auto reply = one_.request(2, {});
  one_.transport.reset();
  EXPECT_TRUE(pulled->wait().has_value() || pulled->wait().error().code() == ErrorCode::kCancelled);
  EXPECT_TRUE(reply->wait().has_value() || reply->wait().error().code() == ErrorCode::kCancelled);
}

// Two network namespaces with a cable between them. Made and removed by `ip`.
class Cable {
 public:
  Cable() : name_("pinion-" + std::to_string(::getpid())) {
    static_cast<void>(ip("netns del " + name_ + "-1"));
    static_cast<void>(ip("netns del " + name_ + "-2"));
    for (const std::string host : {"1", "2"}) {
      made_ = made_ && ip("netns add " + name_ + "-" + host);
    }
    made_ = made_ && ip("link add cable1 netns " + name_ + "-1 type veth peer name cable2 netns " +
                        name_ + "-2");
    for (const std::string host : {"1", "2"}) {
      const std::string in = "-n " + name_ + "-" + host + " ";
      made_ = made_ && ip(in + "addr add 10.93.7." + host + "/24 dev cable" + host) &&
              ip(in + "link set cable" + host + " up") && ip(in + "link set lo up");
    }
    for (const std::string host : {"1", "2"}) {
      while (made_ && !ip("-n " + name_ + "-" + host + " -o link show up dev cable" + host +
                          " | grep -q 'state UP'")) {
      }
    }
  }
  ~Cable() {
    for (const std::string host : {"1", "2"}) {
      static_cast<void>(ip("netns del " + name_ + "-" + host));
    }
  }
  Cable(const Cable&) = delete;
  Cable& operator=(const Cable&) = delete;

  [[nodiscard]] bool made() const { return made_; }
  void set(const std::string& state) {
    EXPECT_TRUE(ip("-n " + name_ + "-1 link set cable1 " + state));
  }

  /// What leaves host 1 queues as `queue` says, in the words of `tc`; false without that command.
  [[nodiscard]] bool queue(const std::string& queue) const {
    return std::system(
               ("tc -n " + name_ + "-1 qdisc replace dev cable1 root " + queue + " 2>/dev/null")
                   .c_str()) == 0;
  }

  [[nodiscard]] std::vector<std::string> peer(const std::string& host,
                                              const std::string& keepalive_ms) const {
    return {"ip", "netns",           "exec",      name_ + "-" + host, UCX_PEER,
            host, "10.93.7." + host, keepalive_ms};
  }

 private:
  static bool ip(const std::string& arguments) {
    return std::system(("ip " + arguments + " 2>/dev/null").c_str()) == 0;
  }

  const std::string name_;
  bool made_ = true;
};

class UcxCable : public testing::Test {
 protected:
  void SetUp() override {
    if (!cable_.made()) {
      GTEST_SKIP() << "no network namespaces here: they need root and the command ip";
    }
  }

  Cable cable_;
};

TEST_F(UcxCable, CarriesBlobsAndOutlivesAMoment) {
  PeerProcess one(cable_.peer("1", "60000"));
  PeerProcess two(cable_.peer("2", "60000"));
  EXPECT_THAT(one.hear("address"), StartsWith("ucx:10.93.7.1:"));
  one.tell("connect 2 " + two.hear("address"));
  EXPECT_EQ(one.hear("connecting"), "OK");
  EXPECT_EQ(one.hear("peer"), "2 OK");
  EXPECT_EQ(two.hear("peer"), "1 OK");
  one.tell("pull 2 20000001");
  EXPECT_EQ(one.hear("pulled"), "OK");
  cable_.set("down");
  one.tell("request 2 50");
  EXPECT_THAT(one.hear("reply"), StartsWith("DEADLINE_EXCEEDED"));
  one.tell("pull 2 3000000");
  cable_.set("up");
  EXPECT_EQ(one.hear("pulled"), "OK");
  one.tell("request 2 3600000");
  EXPECT_EQ(one.hear("reply"), "OK");
}

// The keepalive in milliseconds of peers that lose each other: in three times as long a command
// that cuts the cable has run, and the puller has been told to pull.
constexpr const char* kSoonLost = "1000";

TEST_F(UcxCable, ThatCarriesNothingOneWayLosesBothSides) {
  for (const bool pulls_against_it : {false, true}) {
    PeerProcess one(cable_.peer("1", kSoonLost));
    PeerProcess two(cable_.peer("2", kSoonLost));
    static_cast<void>(one.hear("address"));
    one.tell("connect 2 " + two.hear("address"));
    EXPECT_EQ(one.hear("connecting"), "OK");
    EXPECT_EQ(one.hear("peer"), "2 OK");
    EXPECT_EQ(two.hear("peer"), "1 OK");
    if (!cable_.queue("pfifo limit 0")) {
      GTEST_SKIP() << "no command tc here (package iproute2)";
    }
    PeerProcess& puller = pulls_against_it ? two : one;
    puller.tell(std::string("pull ") + (pulls_against_it ? "1" : "2") + " 30000000");
    EXPECT_THAT(puller.hear_of_dead_way("pulled"), StartsWith("UNAVAILABLE"));
    EXPECT_THAT(one.hear("peer"), StartsWith("2 UNAVAILABLE"));
    EXPECT_THAT(two.hear("peer"), StartsWith("1 UNAVAILABLE"));
    EXPECT_TRUE(cable_.queue("pfifo limit 1000"));
  }
}

// The kernel says that such a cable carries 10 Gb/s.
TEST_F(UcxCable, ThatIsSlowIsSaidToBe) {
  PeerProcess one(cable_.peer("1", "60000"));
  PeerProcess two(cable_.peer("2", "60000"));
  if (!cable_.queue("tbf rate 20mbit burst 64kb latency 50ms")) {
    GTEST_SKIP() << "no command tc here (package iproute2), or no tbf in this kernel";
  }
  static_cast<void>(two.hear("address"));
  two.tell("connect 1 " + one.hear("address"));
  EXPECT_EQ(two.hear("connecting"), "OK");
  EXPECT_EQ(two.hear("peer"), "1 OK");
  EXPECT_EQ(one.hear("peer"), "2 OK");
  two.tell("pull 1 20000000");
  EXPECT_THAT(two.hear("slow"),
              testing::AllOf(StartsWith("1 blobs come at "),
                             HasSubstr("tcp over cable2 should carry 1.16 GiB/s")));
  EXPECT_EQ(two.hear("pulled"), "OK");
}

TEST_F(UcxCable, ThatIsCutLosesBothSides) {
  PeerProcess one(cable_.peer("1", kSoonLost));
  PeerProcess two(cable_.peer("2", kSoonLost));
  static_cast<void>(one.hear("address"));
  one.tell("connect 2 " + two.hear("address"));
  EXPECT_EQ(one.hear("connecting"), "OK");
  EXPECT_EQ(one.hear("peer"), "2 OK");
  EXPECT_EQ(two.hear("peer"), "1 OK");
  cable_.set("down");
  one.tell("pull 2 30000000");
  EXPECT_THAT(one.hear_of_dead_way("pulled"), StartsWith("UNAVAILABLE"));
  EXPECT_THAT(one.hear("peer"), StartsWith("2 UNAVAILABLE"));
  EXPECT_THAT(two.hear("peer"), StartsWith("1 UNAVAILABLE"));
}

}  // namespace
}  // namespace pinion
