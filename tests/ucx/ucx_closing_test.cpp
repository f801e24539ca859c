// How two ends of a connection over UCX part.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/clock.hpp>
#include <pinion/core/detail/link.hpp>
#include <pinion/core/status.hpp>

#include "ucx_link.hpp"

namespace pinion {
namespace {

using detail::ChunkHeader;
using detail::ChunkTarget;
using detail::ConnectionId;

// One side of a connection, which answers what it hears first.
class End final : public detail::ILinkEvents {
 public:
  void open(const End& other) {
    connection_ = *link_->open(other.link_->address());
    link_->send(*connection_, std::vector<std::byte>(8));
  }
  void step() {
    if (!link_->progress(*this)) {
      link_->wait(clock_.now() + std::chrono::milliseconds(1));
    }
  }
  [[nodiscard]] bool heard() const noexcept { return heard_; }

  void close_after_other() { link_->close(*connection_, true); }
  [[nodiscard]] bool drain() { return link_->drain(); }

  void on_accepted(ConnectionId connection) override { connection_ = connection; }
  void on_batch(ConnectionId connection, std::span<const std::byte> /*batch*/) override {
    if (!std::exchange(heard_, true)) {
      link_->send(connection, std::vector<std::byte>(8));
    }
  }
  void on_sent(ConnectionId /*connection*/, std::uint64_t /*bytes*/) override {}
  ChunkTarget on_chunk(ConnectionId /*connection*/, const ChunkHeader& /*header*/) override {
    return {};
  }
  void on_chunk_arrived(ConnectionId /*connection*/, const ChunkHeader& /*header*/) override {}
  void on_chunk_sent(ConnectionId /*connection*/, const ChunkHeader& /*header*/) override {}
  void on_lost(ConnectionId /*connection*/, const Status& /*reason*/) override {}

 private:
  const SystemClock clock_{};
  const std::unique_ptr<detail::ILink> link_ = *make_ucx_link({.listen_address = "127.0.0.1"});
  std::optional<ConnectionId> connection_;
  bool heard_ = false;
};

// Whether both ends of a connection have left by themselves.
bool part_at_once() {
  End opener;
  End accepter;
  opener.open(accepter);
  while (!opener.heard() || !accepter.heard()) {
    opener.step();
    accepter.step();
  }
  opener.close_after_other();
  accepter.close_after_other();
  std::future<bool> other = std::async(std::launch::async, [&] { return accepter.drain(); });
  const bool one = opener.drain();
  return other.get() && one;
}

// Each has closed before it can hear of the other. A machine may hold a thread up for longer than
// an end waits, but not each time.
TEST(UcxEnds, ThatCloseAtOnceDoNotWaitForEachOther) {
  bool parted = false;
  for (int attempt = 0; attempt < 20 && !parted; ++attempt) {
    parted = part_at_once();
  }
  EXPECT_TRUE(parted);
}

}  // namespace
}  // namespace pinion
