#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "conformance/transport_sides.hpp"
#include "core/fake_link.hpp"
#include "transport/engine.hpp"
#include "transport/peer_table.hpp"

namespace pinion::detail {

struct ToldClock final : IClock {
  Instant now() const noexcept override { return time; }

  Instant time = Instant(std::chrono::seconds(1000));
};

// Host 5, over a link that does nothing: what a peer sends is made here, and time is told.
class TransportEngineTest : public testing::Test {
 protected:
  TransportEngineTest() {
    options_.host = 5;
    options_.window_bytes = 65536;
    options_.job_key = {.job = 7, .epoch = 2, .proof = {std::byte{1}}};
    options_.handlers = {
        .on_message = [this](std::uint32_t, std::span<const std::byte>) { ++messages_; },
        .on_request = [this](std::uint32_t, std::span<const std::byte>)
            -> Result<std::vector<std::byte>> { return std::vector<std::byte>(reply_bytes_); },
        .on_pull = [this](std::uint32_t, const BlobHandle& handle) { return open_(handle); },
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
            .job_key = options_.job_key,
            .pinion_version = PINION_TEST_VERSION,
            .link_version = "fake link 1"};
  }

  testing_transport::FakePeer accept(ConnectionId connection) {
    engine_->on_accepted(connection);
    return {*engine_, connection};
  }

  // A peer that is up.
  testing_transport::FakePeer accept_host(ConnectionId connection, std::uint32_t host) {
    testing_transport::FakePeer peer = accept(connection);
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
  testing_transport::FakeLink link_;
  PeerTable table_;
  testing_transport::Blobs blobs_;
  std::function<Result<Blob>(const BlobHandle&)> open_ = [this](const BlobHandle& handle) {
    return blobs_.open(handle);
  };
  std::size_t reply_bytes_ = 3;
  std::unique_ptr<TransportEngine> engine_;
  unsigned messages_ = 0;
  std::vector<std::string> said_;
  std::vector<std::string> refusals_;
  std::vector<std::string> slow_;
};

}  // namespace pinion::detail
