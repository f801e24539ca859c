#pragma once

#include <pinion/core/detail/link.hpp>
#include <pinion/core/detail/link_transport.hpp>
#include <pinion/core/transport.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "transport/engine.hpp"
#include "transport/frames.hpp"

namespace pinion::testing_transport {

/// A link that keeps what it is given and does nothing.
class FakeLink final : public detail::ILink {
 public:
  std::string address() const override { return "fake:0"; }
  Status check_address(const std::string& /*address*/) const override { return {}; }
  std::string version() const override { return "fake link 1"; }
  Result<detail::ConnectionId> open(const std::string& /*address*/) override { return next_id_++; }
  void send(detail::ConnectionId connection, std::vector<std::byte> batch) override {
    sent[connection].push_back(std::move(batch));
  }
  std::uint64_t chunk_bytes(detail::ConnectionId /*connection*/) override {
    return bytes_of_chunks;
  }
  void send_chunk(detail::ConnectionId connection, const detail::ChunkHeader& header,
                  const Blob& /*blob*/) override {
    chunks[connection].push_back(header);
  }
  void close(detail::ConnectionId connection, bool after_other) override {
    closed[connection] = after_other;
  }
  detail::LinkPath path(detail::ConnectionId /*connection*/) override { return path_to; }
  bool progress(detail::ILinkEvents& /*events*/) override { return false; }
  void wait(Instant /*until*/) override {}
  void wake() override {}
  bool drain() override { return true; }

  /// The frames that were sent over `connection`, as (kind, error) pairs and all their bytes.
  std::vector<detail::Frame> frames(detail::ConnectionId connection) const {
    std::vector<detail::Frame> all;
    const auto found = sent.find(connection);
    for (const auto& batch :
         found == sent.end() ? std::vector<std::vector<std::byte>>() : found->second) {
      kept_.push_back(batch);
      detail::FrameReader reader(std::span(kept_.back()).subspan(sizeof(detail::BatchHeader)));
      while (const auto frame = reader.next()) {
        all.push_back(*frame);
      }
      EXPECT_FALSE(reader.damaged());
    }
    return all;
  }

  std::map<detail::ConnectionId, std::vector<std::vector<std::byte>>> sent;
  std::map<detail::ConnectionId, std::vector<detail::ChunkHeader>> chunks;
  std::map<detail::ConnectionId, bool> closed;
  detail::LinkPath path_to = {.name = "nowhere"};
  std::uint64_t bytes_of_chunks = 1 << 20;

 private:
  detail::ConnectionId next_id_ = 1000;
  mutable std::vector<std::vector<std::byte>> kept_;  // What frames() points into.
};

/// The other end of one connection of an engine.
class FakePeer {
 public:
  FakePeer(detail::TransportEngine& engine, detail::ConnectionId connection)
      : engine_(engine), connection_(connection) {}

  FakePeer& frame(detail::FrameHeader header, std::span<const std::byte> bytes = {}) {
    detail::append_frame(frames_, header, bytes);
    return *this;
  }
  FakePeer& hello(const detail::Hello& hello, detail::FrameKind kind = detail::FrameKind::kHello) {
    return frame({.kind = kind}, detail::encode(hello));
  }
  FakePeer& error(detail::FrameKind kind, std::uint64_t id, const Status& error) {
    detail::append_error(frames_, kind, id, error);
    return *this;
  }

  /// Delivers the frames as one batch.
  void deliver() { deliver_as(next_++); }
  void deliver_as(std::uint32_t sequence) {
    const detail::BatchHeader header = {.sequence = sequence,
                                        .length = static_cast<std::uint32_t>(frames_.size())};
    std::vector<std::byte> batch(sizeof(header) + frames_.size());
    std::memcpy(batch.data(), &header, sizeof(header));
    std::copy(frames_.begin(), frames_.end(), batch.begin() + sizeof(header));
    frames_.clear();
    engine_.on_batch(connection_, batch);
  }

 private:
  detail::TransportEngine& engine_;
  const detail::ConnectionId connection_;
  std::uint32_t next_ = 0;
  std::vector<std::byte> frames_;
};

}  // namespace pinion::testing_transport
