#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shm/channel.hpp>
#include <pinion/shm/ring.hpp>
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

inline UniqueFd duplicate(int descriptor) {
  return UniqueFd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
}

/// Messages on the way in each direction of a ring with a rank.
inline constexpr std::uint32_t kFakeRingCapacity = 4;

/// Gives a rank its end of a ring. `ours` is then the agent's, before the rank has its own; null:
/// nobody reads what the rank says there.
inline bool send_ring(Channel& channel, const Frame& hello, std::optional<RingEnd>* ours) {
  auto [our_ticket, their_ticket] = *make_ring(77, 5, kFakeRingCapacity);
  if (ours != nullptr) {
    ours->emplace(*RingEnd::attach(std::move(our_ticket), duplicate(channel.descriptor())));
  }
  std::vector<int> descriptors;
  for (const UniqueFd& descriptor : their_ticket.descriptors) {
    descriptors.push_back(descriptor.get());
  }
  return channel
      .send(number_of(FrameKind::kRingTicket), hello.request,
            encode_ring_address(their_ticket.address), descriptors)
      .ok();
}

/// Takes in a rank that has said hello.
inline bool take_in(Channel& channel, const Frame& hello, const Welcome& welcome,
                    std::span<const int> descriptors = {}, std::optional<RingEnd>* ring = nullptr) {
  return channel
             .send(number_of(FrameKind::kWelcome), hello.request, encode_welcome(welcome),
                   descriptors)
             .ok() &&
         send_ring(channel, hello, ring);
}

/// An agent that takes in whoever comes and says goodbye in good order. `ring`: as of send_ring().
inline FakeAgent::OnFrame welcoming(FakeAgent::OnFrame on_other_frame,
                                    std::optional<RingEnd>* ring = nullptr) {
  return [on_other = std::move(on_other_frame), ring](Channel& channel, Frame frame) {
    if (frame.kind == number_of(FrameKind::kHello)) {
      return take_in(channel, frame, {}, {}, ring);
    }
    if (frame.kind == number_of(FrameKind::kGoodbye)) {
      return send_status(channel, frame.request, Status());
    }
    return on_other(channel, std::move(frame));
  };
}

/// What such an agent does with other frames where it has no use for them.
inline FakeAgent::OnFrame refusing_all() {
  return [](Channel& channel, const Frame& frame) {
    return send_status(channel, frame.request,
                       Status(ErrorCode::kUnimplemented, "this agent does nothing"));
  };
}

/// Joins; ends the process where that fails.
inline std::unique_ptr<AgentLink> join(FakeAgent& agent) {
  return std::move(AgentLink::join(agent.take_rank_end(), {"1.2.3", 7})).value().first;
}

}  // namespace pinion
