#pragma once

#include <pinion/core/clock.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/shard/protocol/messages.hpp>
#include <pinion/shard/protocol/wire.hpp>

#include <chrono>
#include <cstdint>
#include <latch>
#include <thread>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {

/// The contract of IControlLink as tests. `Host` makes the link under test; at its other side is a
/// coordinator that drives protocol::Coordinator for a job of this one rank.
///
///   struct Host {
///     IControlLink& link();
///     protocol::Envelope envelope() const;  // Of the link's rank.
///     void lose_coordinator();              // For ControlLinkLossConformance; called once.
///   };
///   INSTANTIATE_TYPED_TEST_SUITE_P(Mine, ControlLinkConformance, Host);
template <class Host>
class ControlLinkConformance : public ::testing::Test {
 protected:
  // So late that only a message or wake() ends the wait; a suite that hangs has failed.
  static constexpr Instant kNever = Instant::max();

  IControlLink& link() { return host_.link(); }
  Instant now() const { return clock_.now(); }

  Status send(const protocol::Message& message) {
    return link().send(protocol::encode(host_.envelope(), message));
  }

  void enter_first_step() {
    ASSERT_TRUE(send(protocol::EnterStep{1, 42, "a step"}).ok());
    const Result<std::vector<std::byte>> answer = link().receive(kNever);
    ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
    ASSERT_EQ(protocol::decode(*answer)->message, protocol::Message(protocol::MakePlan{1}));
  }

  // A heartbeat of the first step comes back with its own number: what is sent can be told apart.
  Status send_numbered(std::int64_t number) { return send(protocol::Heartbeat{1, number, {}}); }

  static std::int64_t number_of_answer(const std::vector<std::byte>& bytes) {
    const Result<protocol::Decoded> decoded = protocol::decode(bytes);
    EXPECT_TRUE(decoded.has_value());
    const auto* answer = std::get_if<protocol::HeartbeatAck>(&decoded->message);
    EXPECT_NE(answer, nullptr);
    return answer == nullptr ? -1 : answer->sent_ns;
  }

  SystemClock clock_;
  Host host_;
};
TYPED_TEST_SUITE_P(ControlLinkConformance);

TYPED_TEST_P(ControlLinkConformance, ReceivesNothingWhenTheDeadlineHasPassed) {
  for (const Instant deadline : {Instant(), this->now() - std::chrono::hours(1), this->now()}) {
    const Result<std::vector<std::byte>> received = this->link().receive(deadline);
    ASSERT_TRUE(received.has_value()) << received.error().to_string();
    EXPECT_TRUE(received->empty());
  }
}

TYPED_TEST_P(ControlLinkConformance, ReceivesNothingBeforeTheDeadline) {
  const Instant deadline = this->now() + std::chrono::milliseconds(2);
  const Result<std::vector<std::byte>> received = this->link().receive(deadline);
  ASSERT_TRUE(received.has_value()) << received.error().to_string();
  EXPECT_TRUE(received->empty());
  EXPECT_GE(this->now(), deadline);
}

TYPED_TEST_P(ControlLinkConformance, AnswersWhatIsSent) {
  this->enter_first_step();
}

TYPED_TEST_P(ControlLinkConformance, KeepsAMessageForAReceiveWhoseDeadlineHasPassed) {
  this->enter_first_step();
  ASSERT_TRUE(this->send_numbered(1).ok());
  ASSERT_TRUE(this->send_numbered(2).ok());
  // With the first in hand, nobody knows of the second; it comes sooner or later.
  EXPECT_EQ(this->number_of_answer(*this->link().receive(this->kNever)), 1);
  Result<std::vector<std::byte>> second = this->link().receive(Instant());
  const Instant patience = this->now() + std::chrono::seconds(60);
  while (second && second->empty() && this->now() < patience) {
    std::this_thread::yield();
    second = this->link().receive(this->now());
  }
  ASSERT_TRUE(second.has_value()) << second.error().to_string();
  EXPECT_EQ(this->number_of_answer(*second), 2);
}

TYPED_TEST_P(ControlLinkConformance, WakesTheNextReceiveWhenNobodyWaits) {
  this->link().wake();
  const Result<std::vector<std::byte>> received = this->link().receive(this->kNever);
  ASSERT_TRUE(received.has_value()) << received.error().to_string();
  EXPECT_TRUE(received->empty());
}

TYPED_TEST_P(ControlLinkConformance, WakesNoMoreThanOneReceive) {
  this->link().wake();
  EXPECT_TRUE(this->link().receive(this->kNever)->empty());
  const Instant deadline = this->now() + std::chrono::milliseconds(2);
  EXPECT_TRUE(this->link().receive(deadline)->empty());
  EXPECT_GE(this->now(), deadline);
}

// Which of the two comes first is a race, and either is right: the receive waits or is the next.
TYPED_TEST_P(ControlLinkConformance, WakesAReceiveOfAnotherThread) {
  for (int round = 0; round < 200; ++round) {
    std::latch both(2);
    std::thread receiver([&] {
      both.arrive_and_wait();
      const Result<std::vector<std::byte>> received = this->link().receive(this->kNever);
      EXPECT_TRUE(received.has_value() && received->empty());
    });
    both.arrive_and_wait();
    this->link().wake();
    receiver.join();
  }
}

TYPED_TEST_P(ControlLinkConformance, LosesNeitherTheMessageNorTheWake) {
  this->enter_first_step();
  for (std::int64_t number = 1; number <= 200; ++number) {
    ASSERT_TRUE(this->send_numbered(number).ok());
    this->link().wake();
    int empty_count = 0;
    int message_count = 0;
    for (int turn = 0; turn < 2; ++turn) {
      const Result<std::vector<std::byte>> received = this->link().receive(this->kNever);
      ASSERT_TRUE(received.has_value()) << received.error().to_string();
      if (received->empty()) {
        ++empty_count;
      } else {
        ++message_count;
        EXPECT_EQ(this->number_of_answer(*received), number);
      }
    }
    ASSERT_EQ(empty_count, 1);
    ASSERT_EQ(message_count, 1);
  }
}

TYPED_TEST_P(ControlLinkConformance, EndsAWaitWithAMessage) {
  this->enter_first_step();
  for (std::int64_t number = 1; number <= 100; ++number) {
    std::latch both(2);
    std::thread receiver([&] {
      both.arrive_and_wait();
      const Result<std::vector<std::byte>> received = this->link().receive(this->kNever);
      ASSERT_TRUE(received.has_value()) << received.error().to_string();
      EXPECT_EQ(this->number_of_answer(*received), number);
    });
    both.arrive_and_wait();
    EXPECT_TRUE(this->send_numbered(number).ok());
    receiver.join();
  }
}

TYPED_TEST_P(ControlLinkConformance, KeepsTheOrderOfEachThreadsMessages) {
  constexpr std::int64_t kThreadCount = 4;
  constexpr std::int64_t kMessageCount = 200;
  this->enter_first_step();
  std::vector<std::thread> senders;
  for (std::int64_t thread = 0; thread < kThreadCount; ++thread) {
    senders.emplace_back([this, thread] {
      for (std::int64_t i = 0; i < kMessageCount; ++i) {
        EXPECT_TRUE(this->send_numbered(thread * kMessageCount + i).ok());
        this->link().wake();
      }
    });
  }
  std::vector<std::int64_t> next(kThreadCount, 0);
  for (std::int64_t arrived = 0; arrived < kThreadCount * kMessageCount;) {
    const Result<std::vector<std::byte>> received = this->link().receive(this->kNever);
    if (!received) {
      ADD_FAILURE() << received.error().to_string();
      break;
    }
    if (received->empty()) {
      continue;
    }
    const std::int64_t number = this->number_of_answer(*received);
    const auto thread = static_cast<std::size_t>(number / kMessageCount);
    ASSERT_LT(thread, next.size());
    EXPECT_EQ(number % kMessageCount, next[thread]++);
    ++arrived;
  }
  for (std::thread& sender : senders) {
    sender.join();
  }
}

REGISTER_TYPED_TEST_SUITE_P(ControlLinkConformance, ReceivesNothingWhenTheDeadlineHasPassed,
                            ReceivesNothingBeforeTheDeadline, AnswersWhatIsSent,
                            KeepsAMessageForAReceiveWhoseDeadlineHasPassed,
                            WakesTheNextReceiveWhenNobodyWaits, WakesNoMoreThanOneReceive,
                            WakesAReceiveOfAnotherThread, LosesNeitherTheMessageNorTheWake,
                            EndsAWaitWithAMessage, KeepsTheOrderOfEachThreadsMessages);

/// What a link answers once its coordinator is gone for good. For links that can lose it.
template <class Host>
class ControlLinkLossConformance : public ControlLinkConformance<Host> {};
TYPED_TEST_SUITE_P(ControlLinkLossConformance);

TYPED_TEST_P(ControlLinkLossConformance, SendsAndReceivesAreUnavailable) {
  this->enter_first_step();
  this->host_.lose_coordinator();
  const Result<std::vector<std::byte>> received = this->link().receive(this->kNever);
  ASSERT_FALSE(received.has_value());
  EXPECT_EQ(received.error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(this->send_numbered(1).code(), ErrorCode::kUnavailable);
}

TYPED_TEST_P(ControlLinkLossConformance, EndsAReceiveThatWaits) {
  std::latch both(2);
  std::thread receiver([&] {
    both.arrive_and_wait();
    const Result<std::vector<std::byte>> received = this->link().receive(this->kNever);
    ASSERT_FALSE(received.has_value());
    EXPECT_EQ(received.error().code(), ErrorCode::kUnavailable);
  });
  both.arrive_and_wait();
  this->host_.lose_coordinator();
  receiver.join();
}

TYPED_TEST_P(ControlLinkLossConformance, HandsOutWhatHadArrivedBefore) {
  this->enter_first_step();
  ASSERT_TRUE(this->send_numbered(1).ok());
  this->host_.lose_coordinator();
  const Result<std::vector<std::byte>> message = this->link().receive(this->kNever);
  ASSERT_TRUE(message.has_value()) << message.error().to_string();
  EXPECT_EQ(this->number_of_answer(*message), 1);
  EXPECT_EQ(this->link().receive(this->kNever).error().code(), ErrorCode::kUnavailable);
}

REGISTER_TYPED_TEST_SUITE_P(ControlLinkLossConformance, SendsAndReceivesAreUnavailable,
                            EndsAReceiveThatWaits, HandsOutWhatHadArrivedBefore);

}  // namespace pinion
