#pragma once

#include <sys/socket.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include <pinion/shm/channel.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "agent_link.hpp"
#include "frames.hpp"

namespace pinion {

/// The agent's end of a rank's socket, in a thread of its own: answers a hello, then gives every
/// frame to the test.
class FakeAgent {
 public:
  /// Called in the agent's thread. False hangs up.
  using OnFrame = std::function<bool(Channel&, Frame)>;

  explicit FakeAgent(OnFrame on_frame) {
    std::array<int, 2> ends = {};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    rank_end_ = UniqueFd(ends[0]);
    Result<Channel> channel = Channel::adopt(UniqueFd(ends[1]));
    channel_.emplace(std::move(channel).value());
    thread_ = std::thread([this, handle = std::move(on_frame)] { serve(handle); });
  }
  ~FakeAgent() {
    hang_up();
    thread_.join();
  }
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;

  [[nodiscard]] UniqueFd take_rank_end() { return std::move(rank_end_); }

  void hang_up() { channel_->shutdown(); }

 private:
  void serve(const OnFrame& handle) {
    while (true) {
      Result<std::optional<Frame>> frame = channel_->receive();
      if (!frame || !frame->has_value() || !handle(*channel_, std::move(**frame))) {
        break;
      }
    }
    hang_up();
  }

  UniqueFd rank_end_;
  std::optional<Channel> channel_;
  std::thread thread_;
};

constexpr std::uint16_t number_of(FrameKind kind) {
  return static_cast<std::uint16_t>(kind);
}

inline bool send_status(Channel& channel, std::uint64_t request, const Status& status) {
  return channel.send(number_of(FrameKind::kDone), request, encode_status(status)).ok();
}

/// An agent that takes in whoever comes and says goodbye in good order.
inline FakeAgent::OnFrame welcoming(FakeAgent::OnFrame on_other_frame, Welcome welcome = {}) {
  return [on_other = std::move(on_other_frame), welcome = std::move(welcome)](Channel& channel,
                                                                              Frame frame) {
    if (frame.kind == number_of(FrameKind::kHello)) {
      return channel.send(number_of(FrameKind::kWelcome), frame.request, encode_welcome(welcome))
          .ok();
    }
    if (frame.kind == number_of(FrameKind::kGoodbye)) {
      return send_status(channel, frame.request, Status());
    }
    return on_other(channel, std::move(frame));
  };
}

/// Joins; ends the process where that fails.
inline std::unique_ptr<AgentLink> join(FakeAgent& agent) {
  return std::move(AgentLink::join(agent.take_rank_end(), {"1.2.3", 7})).value().first;
}

}  // namespace pinion
