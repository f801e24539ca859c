#pragma once

#include "conformance/transport_sides.hpp"

#include <list>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {

/// The contract of ITransport as tests. `Host` makes the transports under test:
///
///   struct Host {
///     Result<std::unique_ptr<ITransport>> make(std::uint32_t host, TransportHandlers handlers,
///                                              const testing_transport::Limits& limits);
///     void damage_pulls();           // Each pull from now on arrives with a byte changed,
///     void leave_pulls_whole();      // until this is called.
///   };
///   INSTANTIATE_TYPED_TEST_SUITE_P(Mine, TransportConformance, Host);
template <class Host>
class TransportConformance : public ::testing::Test {
 protected:
  using Side = testing_transport::Side;
  using Bytes = testing_transport::Bytes;
  using Limits = testing_transport::Limits;

  static Bytes pattern(std::size_t size, unsigned seed) {
    return testing_transport::pattern(size, seed);
  }

  Side& join(std::uint32_t host, const Limits& limits = {}) {
    Side& side = sides_.emplace_back(host);
    Result<std::unique_ptr<ITransport>> made = host_.make(host, side.handlers(), limits);
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    side.transport = *std::move(made);
    return side;
  }

  // Returns when both know it.
  static void connect(Side& from, Side& to) {
    const std::size_t of_from = to.peer_events(from.host);
    const std::size_t of_to = from.peer_events(to.host);
    const Status status = from.transport->connect(to.host, to.transport->address());
    ASSERT_TRUE(status.ok()) << status.to_string();
    const Status up = from.wait_for_peer(to.host, of_to + 1);
    ASSERT_TRUE(up.ok()) << up.to_string();
    ASSERT_TRUE(to.wait_for_peer(from.host, of_from + 1).ok());
  }

  // Two sides that are connected, as hosts 1 and 2.
  std::pair<Side&, Side&> pair(const Limits& limits = {}) {
    Side& one = join(1, limits);
    Side& two = join(2, limits);
    connect(one, two);
    return {one, two};
  }

  static std::vector<Peer> peers_of(const Side& side) { return side.transport->peers(); }

  Host host_;
  std::list<Side> sides_;
};

}  // namespace pinion
