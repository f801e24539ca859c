#include <pinion/shm/ring_broker.hpp>

#include <utility>

#include <gtest/gtest.h>

#include "shm/ring_ends.hpp"
#include "shm_host.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kJob = 77;

RingEnd attach(Result<RingTicket> ticket, UniqueFd watch) {
  return std::move(*RingEnd::attach(std::move(*ticket), std::move(watch)));
}

TEST(RingBroker, JoinsTwoClientsWhoeverAsksFirst) {
  RingBroker broker(kJob, 4);
  for (const auto& [first, second] : {std::pair(3u, 5u), std::pair(9u, 2u)}) {
    auto [watch_of_first, watch_of_second] = make_sockets();
    RingEnd end = attach(broker.ask(first, second), std::move(watch_of_first));
    ASSERT_TRUE(end.try_push(numbered(1)));
    RingEnd other = attach(broker.ask(second, first), std::move(watch_of_second));
    EXPECT_EQ(end.address().number, other.address().number);
    EXPECT_EQ(end.address().job, kJob);
    EXPECT_EQ(end.address().side, first < second ? 0u : 1u);
    RingMessage message;
    ASSERT_TRUE(other.try_pop(message));
    EXPECT_EQ(message, numbered(1));
  }
  EXPECT_EQ(broker.ring_count(), 2u);
}

TEST(RingBroker, GivesEachPairARingOfItsOwn) {
  RingBroker broker(kJob, 4);
  const Result<RingTicket> first = broker.ask(0, 1);
  const Result<RingTicket> second = broker.ask(0, 2);
  const Result<RingTicket> third = broker.ask(1, 2);
  EXPECT_EQ(first->address.number, 0u);
  EXPECT_EQ(second->address.number, 1u);
  EXPECT_EQ(third->address.number, 2u);
}

TEST(RingBroker, MakesRingsThatItKeepsNothingOf) {
  const std::ptrdiff_t descriptors = open_descriptor_count();
  RingBroker broker(kJob, 4);
  {
    const Result<RingTicket> of_two = broker.ask(0, 1);
    const auto [first, second] = *broker.make();
    EXPECT_NE(first.address.number, of_two->address.number);
    EXPECT_EQ(first.address.number, second.address.number);
    EXPECT_EQ(first.address.job, kJob);
    EXPECT_EQ(first.address.side, 0u);
    EXPECT_EQ(second.address.side, 1u);
    EXPECT_EQ(broker.ring_count(), 1u);
  }
  broker.client_gone(0);
  EXPECT_EQ(open_descriptor_count(), descriptors);
}

TEST(RingBroker, GivesAnEndOnce) {
  RingBroker broker(kJob, 4);
  ASSERT_TRUE(broker.ask(0, 1).has_value());
  EXPECT_EQ(broker.ask(0, 1).error().code(), ErrorCode::kAlreadyExists);
  ASSERT_TRUE(broker.ask(1, 0).has_value());
  EXPECT_EQ(broker.ask(1, 0).error().code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(broker.ask(0, 1).error().code(), ErrorCode::kAlreadyExists);
}

TEST(RingBroker, JoinsNobodyWithHimself) {
  EXPECT_EQ(RingBroker(kJob, 4).ask(1, 1).error().code(), ErrorCode::kInvalidArgument);
}

TEST(RingBroker, KeepsNoDescriptorOnceBothHaveAsked) {
  RingBroker broker(kJob, 4);
  const std::ptrdiff_t before = open_descriptor_count();
  static_cast<void>(broker.ask(0, 1));
  EXPECT_EQ(open_descriptor_count(), before + static_cast<std::ptrdiff_t>(kRingDescriptorCount));
  static_cast<void>(broker.ask(1, 0));
  EXPECT_EQ(open_descriptor_count(), before);
}

TEST(RingBroker, ForgetsTheRingsOfADeadClient) {
  RingBroker broker(kJob, 4);
  const std::ptrdiff_t before = open_descriptor_count();
  for (const std::uint32_t peer : {0u, 2u, 3u}) {
    static_cast<void>(broker.ask(1, peer));
  }
  static_cast<void>(broker.ask(0, 2));
  broker.client_gone(1);
  EXPECT_EQ(broker.ring_count(), 1u);
  broker.client_gone(2);
  EXPECT_EQ(broker.ring_count(), 0u);
  EXPECT_EQ(open_descriptor_count(), before);
}

}  // namespace
}  // namespace pinion
