#include <pinion/core/in_process_transport.hpp>

#include "conformance/transport_conformance.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <utility>

#include <gtest/gtest.h>

namespace pinion {
namespace {

// A hub with the faults that `Faults::make()` says.
template <class Faults>
struct HubHost {
  Result<std::unique_ptr<ITransport>> make(std::uint32_t host, TransportHandlers handlers,
                                           const testing_transport::Limits& limits) {
    return hub.join({.host = host,
                     .keepalive = limits.keepalive,
                     .connect_timeout = limits.connect_timeout,
                     .pull_timeout = limits.pull_timeout,
                     .window_bytes = limits.window_bytes,
                     .job_key = limits.job_key,
                     .handlers = std::move(handlers)});
  }

  void damage_pulls() { damaging = true; }
  void leave_pulls_whole() { damaging = false; }

  static InProcessFaults faults(std::atomic<bool>& damaging) {
    InProcessFaults made = Faults::make();
    made.damage = [&damaging](std::span<std::byte> bytes) {
      if (damaging && !bytes.empty()) {
        bytes[bytes.size() / 2] ^= std::byte{1};
      }
    };
    return made;
  }

  std::atomic<bool> damaging = false;
  InProcessHub hub{faults(damaging)};
};

struct Faultless {
  static InProcessFaults make() { return {}; }
};
struct Slow {
  static InProcessFaults make() { return {.seed = 7, .delay_max = std::chrono::microseconds(500)}; }
};
struct Lossy {
  static InProcessFaults make() {
    return {.seed = 8,
            .delay_max = std::chrono::microseconds(50),
            .loss = 0.1,
            .retry = std::chrono::microseconds(300)};
  }
};

INSTANTIATE_TYPED_TEST_SUITE_P(InProcess, TransportConformance, HubHost<Faultless>);
INSTANTIATE_TYPED_TEST_SUITE_P(InProcessSlow, TransportConformance, HubHost<Slow>);
INSTANTIATE_TYPED_TEST_SUITE_P(InProcessLossy, TransportConformance, HubHost<Lossy>);

class InProcessTransport : public TransportConformance<HubHost<Faultless>> {};

TEST_F(InProcessTransport, AHostThatIsCutOffIsGoneForBothSides) {
  const Limits limits = {.keepalive = std::chrono::seconds(1)};
  auto [one, two] = pair(limits);
  host_.hub.cut(2);
  const auto reply = one.request(2, {});
  EXPECT_EQ(reply->wait().error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(one.wait_for_peer(2, 2).code(), ErrorCode::kUnavailable);
  EXPECT_EQ(two.wait_for_peer(1, 2).code(), ErrorCode::kUnavailable);
  host_.hub.mend(2);
  connect(two, one);
  EXPECT_EQ(*one.request(2, pattern(9, 9))->wait(), pattern(9, 9));
}

TEST_F(InProcessTransport, NobodyIsConnectedToAHostThatIsCutOff) {
  const Limits limits = {.connect_timeout = std::chrono::milliseconds(50)};
  Side& one = join(1, limits);
  Side& two = join(2);
  host_.hub.cut(2);
  ASSERT_TRUE(one.transport->connect(2, two.transport->address()).ok());
  const Status late = one.wait_for_peer(2, 1);
  EXPECT_EQ(late.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(std::string(late.message()), ::testing::HasSubstr("no greeting came within"));
}

TEST(InProcessHub, AConnectionBreaksWhenEveryAttemptIsLost) {
  InProcessHub hub({.loss = 0.9999999, .retry = Duration(1), .attempts_max = 3});
  testing_transport::Side one(1);
  testing_transport::Side two(2);
  one.transport = *hub.join({.host = 1, .handlers = one.handlers()});
  two.transport = *hub.join({.host = 2, .handlers = two.handlers()});
  ASSERT_TRUE(one.transport->connect(2, two.transport->address()).ok());
  EXPECT_THAT(std::string(one.wait_for_peer(2, 1).message()),
              ::testing::HasSubstr("the connection broke"));
}

TEST(InProcessHub, RefusesOptionsOutsideTheirRange) {
  InProcessHub hub;
  EXPECT_EQ(hub.join({.keepalive = Duration(0)}).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(hub.join({.connect_timeout = Duration(-1)}).error().code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(hub.join({.pull_timeout = Duration(0)}).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(hub.join({.window_bytes = 65535}).error().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace pinion
