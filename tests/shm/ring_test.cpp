#include <pinion/shm/ring.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>

#include "ring_segment.hpp"
#include "shm/ring_ends.hpp"
#include "shm_host.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;

constexpr std::uint32_t kCapacity = 4;

TEST(Ring, CarriesAHandleWithItsKindAndRequest) {
  TwoEnds ring(kCapacity);
  const BlobHandle handle = {.job = 77, .generation = 1, .length_bytes = 1000, .segment = 5};
  RingMessage sent{.kind = 4, .length_bytes = sizeof(handle), .request = 99};
  std::memcpy(sent.payload.data(), &handle, sizeof(handle));
  ASSERT_TRUE(ring.first().try_push(sent));
  RingMessage received;
  ASSERT_TRUE(ring.second().try_pop(received));
  EXPECT_EQ(received, sent);
  EXPECT_FALSE(ring.second().try_pop(received));
}

TEST(Ring, GoesBothWays) {
  TwoEnds ring(kCapacity);
  ASSERT_TRUE(ring.first().try_push(numbered(1)));
  ASSERT_TRUE(ring.second().try_push(numbered(2)));
  RingMessage received;
  ASSERT_TRUE(ring.first().try_pop(received));
  EXPECT_EQ(received, numbered(2));
  ASSERT_TRUE(ring.second().try_pop(received));
  EXPECT_EQ(received, numbered(1));
  EXPECT_FALSE(ring.first().try_pop(received));
}

TEST(Ring, IsFirstInFirstOutOverManyLapsAndRefusesWhatDoesNotFit) {
  TwoEnds ring(kCapacity);
  std::uint64_t sent = 0;
  std::uint64_t taken = 0;
  for (std::uint64_t round = 0; round < 50; ++round) {
    while (ring.first().try_push(numbered(sent))) {
      ++sent;
    }
    ASSERT_EQ(sent - taken, kCapacity);
    for (std::uint64_t i = 0; i < 1 + round % kCapacity; ++i) {
      RingMessage message;
      ASSERT_TRUE(ring.second().try_pop(message));
      ASSERT_EQ(message, numbered(taken));
      ++taken;
    }
  }
}

TEST(Ring, TakesAsManyOfABatchAsFit) {
  TwoEnds ring(kCapacity);
  std::vector<RingMessage> batch;
  for (std::uint64_t i = 0; i < 6; ++i) {
    batch.push_back(numbered(i));
  }
  EXPECT_EQ(ring.first().try_push(batch), 4u);
  EXPECT_EQ(ring.first().try_push(batch), 0u);
  EXPECT_EQ(ring.first().try_push(std::span<const RingMessage>()), 0u);
  std::vector<RingMessage> received(3);
  EXPECT_EQ(ring.second().try_pop(received), 3u);
  EXPECT_EQ(received[2], numbered(2));
  EXPECT_EQ(ring.first().try_push(std::span(batch).subspan(4)), 2u);
  received.resize(6);
  EXPECT_EQ(ring.second().try_pop(received), 3u);
  EXPECT_EQ(received[0], numbered(3));
  EXPECT_EQ(received[2], numbered(5));
  EXPECT_EQ(ring.second().try_pop(received), 0u);
}

TEST(Ring, WaitsNotForWhatIsThere) {
  TwoEnds ring(kCapacity);
  EXPECT_TRUE(ring.first().wait_for_space(Instant()).ok());
  ASSERT_TRUE(ring.first().try_push(numbered(1)));
  EXPECT_TRUE(ring.second().wait_for_message(Instant()).ok());
}

TEST(Ring, AnswersAtTheDeadline) {
  TwoEnds ring(kCapacity);
  const Instant soon = SystemClock().now() + std::chrono::milliseconds(2);
  for (const Instant deadline : {Instant::min(), Instant(), soon}) {
    EXPECT_EQ(ring.second().wait_for_message(deadline).code(), ErrorCode::kDeadlineExceeded);
  }
  EXPECT_GE(SystemClock().now(), soon);
  while (ring.first().try_push(numbered(1))) {
  }
  EXPECT_EQ(ring.first().wait_for_space(Instant()).code(), ErrorCode::kDeadlineExceeded);
}

TEST(Ring, TellsWhenTheOtherProcessIsGoneAfterItsMessages) {
  TwoEnds ring(kCapacity);
  ASSERT_TRUE(ring.first().try_push(numbered(1)));
  ring.first_dies();
  EXPECT_TRUE(ring.second().wait_for_message(Instant::max()).ok());
  RingMessage message;
  ASSERT_TRUE(ring.second().try_pop(message));
  const Status gone = ring.second().wait_for_message(Instant::max());
  EXPECT_EQ(gone.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(gone.to_string(), HasSubstr("is gone"));
  while (ring.second().try_push(numbered(1))) {
  }
  EXPECT_EQ(ring.second().wait_for_space(Instant::max()).code(), ErrorCode::kUnavailable);
}

bool is_readable(int descriptor) {
  pollfd watched = {.fd = descriptor, .events = POLLIN, .revents = 0};
  return ::poll(&watched, 1, 0) == 1;
}

TEST(Ring, SleepsOnADescriptorThatTheNextMessageMakesReadable) {
  TwoEnds ring(kCapacity);
  RingMessage message;
  for (std::uint64_t round = 0; round < 3 * kCapacity; ++round) {
    ASSERT_TRUE(ring.second().begin_sleep());
    ASSERT_FALSE(is_readable(ring.second().message_descriptor()));
    ASSERT_TRUE(ring.first().try_push(numbered(round)));
    ASSERT_TRUE(is_readable(ring.second().message_descriptor()));
    ring.second().end_sleep(true);
    ASSERT_FALSE(is_readable(ring.second().message_descriptor()));
    ASSERT_TRUE(ring.second().try_pop(message));
    ASSERT_EQ(message, numbered(round));
  }
}

TEST(Ring, SleepsNotWhereAMessageIsThere) {
  TwoEnds ring(kCapacity);
  ASSERT_TRUE(ring.first().try_push(numbered(1)));
  EXPECT_FALSE(ring.second().begin_sleep());
  ring.second().end_sleep(false);
  RingMessage message;
  ASSERT_TRUE(ring.second().try_pop(message));
  EXPECT_EQ(message, numbered(1));
}

// Who is awake looks by himself: a message then costs its sender no system call.
TEST(Ring, IsNotWokenByWhatComesWhileItIsAwake) {
  TwoEnds ring(kCapacity);
  ASSERT_TRUE(ring.second().begin_sleep());
  ring.second().end_sleep(false);
  ASSERT_TRUE(ring.first().try_push(numbered(1)));
  EXPECT_FALSE(is_readable(ring.second().message_descriptor()));
}

// It came after the loop had looked at the descriptor.
TEST(Ring, KeepsAWakeUpThatItWasNotToldOfForTheNextSleep) {
  TwoEnds ring(kCapacity);
  RingMessage message;
  ASSERT_TRUE(ring.second().begin_sleep());
  ASSERT_TRUE(ring.first().try_push(numbered(1)));
  ring.second().end_sleep(false);
  ASSERT_TRUE(ring.second().try_pop(message));
  EXPECT_EQ(message, numbered(1));
  ASSERT_TRUE(ring.second().begin_sleep());
  EXPECT_TRUE(is_readable(ring.second().message_descriptor()));
  ring.second().end_sleep(true);
  EXPECT_FALSE(ring.second().try_pop(message));
  ASSERT_TRUE(ring.second().begin_sleep());
  EXPECT_FALSE(is_readable(ring.second().message_descriptor()));
  ring.second().end_sleep(false);
}

TEST(Ring, MayWaitBetweenSleepsOnItsDescriptor) {
  TwoEnds ring(kCapacity, {.spin = Duration::zero()});
  RingMessage message;
  for (std::uint64_t round = 0; round < 3; ++round) {
    ASSERT_TRUE(ring.second().begin_sleep());
    ring.second().end_sleep(false);
    std::thread sending([&] { EXPECT_TRUE(ring.first().try_push(numbered(round))); });
    EXPECT_TRUE(ring.second().wait_for_message(Instant::max()).ok());
    sending.join();
    ASSERT_TRUE(ring.second().try_pop(message));
    EXPECT_EQ(message, numbered(round));
  }
}

TEST(RingDeathTest, DiesOfAMessageThatIsLongerThanItCanBe) {
  TwoEnds ring(kCapacity);
  EXPECT_DEATH(static_cast<void>(ring.first().try_push(RingMessage{.length_bytes = 41})),
               "length_bytes <= kRingPayloadBytesMax");
}

TEST(Ring, LeavesNoDescriptorOpen) {
  const std::ptrdiff_t before = open_descriptor_count();
  {
    TwoEnds ring(kCapacity);
    ASSERT_TRUE(ring.first().try_push(numbered(1)));
    EXPECT_GT(open_descriptor_count(), before);
  }
  EXPECT_EQ(open_descriptor_count(), before);
}

TEST(MakeRing, RefusesACapacityThatCannotBe) {
  for (const std::uint32_t capacity : {0u, 1u, 3u, 1000u, kRingCapacityMax * 2}) {
    const auto made = make_ring(1, 2, capacity);
    ASSERT_FALSE(made.has_value()) << capacity;
    EXPECT_EQ(made.error().code(), ErrorCode::kInvalidArgument);
  }
}

TEST(MakeRing, GivesEachEndTheOthersSegmentForReadingOnly) {
  auto [first, second] = *make_ring(1, 2, kCapacity);
  for (const RingTicket* ticket : {&first, &second}) {
    const int own = ticket->descriptors[0].get();
    const int peer = ticket->descriptors[1].get();
    EXPECT_EQ(::fcntl(own, F_GETFL) & O_ACCMODE, O_RDWR);
    EXPECT_EQ(::fcntl(peer, F_GETFL) & O_ACCMODE, O_RDONLY);
    EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, peer, 0), MAP_FAILED);
    for (const int segment : {own, peer}) {
      EXPECT_EQ(::ftruncate(segment, 0), -1);
      EXPECT_EQ(::fcntl(segment, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    }
  }
}

class AttachTest : public testing::Test {
 protected:
  AttachTest() : tickets_(*make_ring(7, 8, kCapacity)) {}

  RingTicket& ticket() { return tickets_.first; }

  Status attach() {
    std::array<int, 2> ends = {};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    const UniqueFd other(ends[1]);
    const Result<RingEnd> end = RingEnd::attach(std::move(ticket()), UniqueFd(ends[0]));
    return end ? Status() : end.error();
  }

 private:
  std::pair<RingTicket, RingTicket> tickets_;
};

TEST_F(AttachTest, RefusesAnAddressThatCannotBe) {
  ticket().address.side = 2;
  EXPECT_EQ(attach().code(), ErrorCode::kInvalidArgument);
}

TEST_F(AttachTest, RefusesACapacityThatCannotBe) {
  ticket().address.capacity = 6;
  EXPECT_EQ(attach().code(), ErrorCode::kInvalidArgument);
}

TEST_F(AttachTest, RefusesAnAddressOfAnotherRing) {
  ticket().address.number = 9;
  const Status refused = attach();
  EXPECT_EQ(refused.code(), ErrorCode::kDataLoss);
  EXPECT_THAT(refused.to_string(), HasSubstr("says it is side 0 of ring 8 of job 7"));
}

TEST_F(AttachTest, RefusesASizeOfAnotherCapacity) {
  ticket().address.capacity = 8;
  EXPECT_EQ(attach().code(), ErrorCode::kDataLoss);
}

TEST_F(AttachTest, RefusesTheEndOfTheOtherSide) {
  ticket().address.side = 1;
  EXPECT_EQ(attach().code(), ErrorCode::kDataLoss);
}

TEST_F(AttachTest, RefusesToSleepWithoutKnowingOfTheOthersDeath) {
  const Result<RingEnd> end = RingEnd::attach(std::move(ticket()), UniqueFd());
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().code(), ErrorCode::kInvalidArgument);
}

TEST_F(AttachTest, RefusesATicketWithoutOneOfItsDescriptors) {
  for (std::size_t i = 0; i < kRingDescriptorCount; ++i) {
    auto [first, second] = *make_ring(7, 8, kCapacity);
    ticket() = std::move(first);
    ticket().descriptors[i].reset();
    EXPECT_EQ(attach().code(), ErrorCode::kInvalidArgument) << i;
  }
}

TEST_F(AttachTest, RefusesASegmentThatCouldBeCutOff) {
  UniqueFd loose(::memfd_create("pinion-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(loose.get(), static_cast<off_t>(ring_segment_bytes(kCapacity))), 0);
  for (const RingDescriptor which : {RingDescriptor::kOwnSegment, RingDescriptor::kPeerSegment}) {
    auto [first, second] = *make_ring(7, 8, kCapacity);
    ticket() = std::move(first);
    ticket().descriptors[static_cast<std::size_t>(which)] =
        UniqueFd(::fcntl(loose.get(), F_DUPFD_CLOEXEC, 0));
    EXPECT_EQ(attach().code(), ErrorCode::kFailedPrecondition);
  }
}

// Every byte of the header of either segment, changed.
TEST_F(AttachTest, RefusesEveryChangeOfAHeader) {
  for (const bool own : {true, false}) {
    for (off_t offset = 0; offset < static_cast<off_t>(sizeof(RingHeader)); ++offset) {
      auto [first, second] = *make_ring(7, 8, kCapacity);
      const int writable = (own ? first : second).descriptors[0].get();
      std::byte value = {};
      ASSERT_EQ(::pread(writable, &value, 1, offset), 1);
      value ^= std::byte{0x10};
      ASSERT_EQ(::pwrite(writable, &value, 1, offset), 1);
      ticket() = std::move(first);
      EXPECT_EQ(attach().code(), ErrorCode::kDataLoss) << "byte " << offset;
    }
  }
}

// What a broken peer writes into its own segment, where the other end reads it.
class BrokenPeerTest : public testing::Test {
 protected:
  BrokenPeerTest() : ring_(kCapacity) {
    Result<MemoryMapping> mapping =
        MemoryMapping::create_shared(ring_.segment_of_first(), ring_segment_bytes(kCapacity));
    segment_ = std::move(mapping).value();
  }

  RingEnd& victim() { return ring_.second(); }
  RingEnd& peer() { return ring_.first(); }

  RingLinesOf& lines() {
    return *reinterpret_cast<RingLinesOf*>(segment_.bytes().data() + sizeof(RingHeader));
  }
  RingCellOf& cell(std::size_t i) {
    return reinterpret_cast<RingCellOf*>(segment_.bytes().data() + sizeof(RingHeader) +
                                         sizeof(RingLinesOf))[i];
  }

  void wake_victim() {
    const std::uint64_t count = 5;
    EXPECT_EQ(::write(ring_.wake_up_of_second(), &count, sizeof(count)),
              static_cast<ssize_t>(sizeof(count)));
  }

  void expect_no_more_messages() {
    RingMessage message;
    EXPECT_FALSE(victim().try_pop(message));
    const Status damaged = victim().wait_for_message(Instant::max());
    EXPECT_EQ(damaged.code(), ErrorCode::kDataLoss);
    EXPECT_THAT(damaged.to_string(), HasSubstr("has damaged ring"));
    EXPECT_FALSE(victim().try_pop(message));
    EXPECT_EQ(victim().check_received().to_string(), damaged.to_string());
    EXPECT_FALSE(victim().begin_sleep()) << "it would not be woken";
    victim().end_sleep(false);
  }

 private:
  TwoEnds ring_;
  MemoryMapping segment_;
};

TEST_F(BrokenPeerTest, IsTakenForWholeUntilItDoesHarm) {
  ASSERT_TRUE(peer().try_push(numbered(1)));
  EXPECT_TRUE(victim().check_received().ok());
}

TEST_F(BrokenPeerTest, EndsTheRingByATurnThatCannotBe) {
  cell(0).turn.store(3);
  expect_no_more_messages();
}

TEST_F(BrokenPeerTest, EndsTheRingByACellOfALaterLap) {
  ASSERT_TRUE(peer().try_push(numbered(0)));
  cell(0).turn.store(1 + kCapacity);
  expect_no_more_messages();
}

TEST_F(BrokenPeerTest, IsReadUpToTheMessageThatIsWrong) {
  ASSERT_TRUE(peer().try_push(numbered(0)));
  cell(1).turn.store(77);
  std::array<RingMessage, 4> messages;
  EXPECT_EQ(victim().try_pop(messages), 1u);
  EXPECT_EQ(messages[0], numbered(0));
  expect_no_more_messages();
}

TEST_F(BrokenPeerTest, EndsTheRingByAMessageThatIsTooLong) {
  ASSERT_TRUE(peer().try_push(numbered(0)));
  RingMessage wrong = numbered(1);
  wrong.length_bytes = 41;
  const auto words = std::bit_cast<RingWords<RingMemory>>(wrong);
  for (std::size_t i = 0; i < words.size(); ++i) {
    cell(1).words[i].store(words[i]);
  }
  cell(1).turn.store(2);
  std::array<RingMessage, 4> messages;
  EXPECT_EQ(victim().try_pop(messages), 1u);
  expect_no_more_messages();
}

TEST_F(BrokenPeerTest, EndsTheRingByHavingTakenWhatWasNotSent) {
  while (victim().try_push(numbered(0))) {
  }
  lines().taken.store(kCapacity + 1);
  EXPECT_FALSE(victim().try_push(numbered(0)));
  EXPECT_EQ(victim().wait_for_space(Instant::max()).code(), ErrorCode::kDataLoss);
}

TEST_F(BrokenPeerTest, EndsTheRingByGivingBackWhatItHadTaken) {
  while (victim().try_push(numbered(0))) {
  }
  RingMessage message;
  ASSERT_TRUE(peer().try_pop(message));
  ASSERT_TRUE(peer().try_pop(message));
  ASSERT_TRUE(victim().try_push(numbered(0)));
  lines().taken.store(1);
  ASSERT_TRUE(victim().try_push(numbered(0)));
  EXPECT_FALSE(victim().try_push(numbered(0)));
  EXPECT_EQ(victim().wait_for_space(Instant::max()).code(), ErrorCode::kDataLoss);
}

// Whatever it says about sleeping costs a system call at most.
TEST_F(BrokenPeerTest, MaySayThatItSleepsAsItLikes) {
  for (std::uint64_t i = 0; i < 3 * kCapacity; ++i) {
    lines().awaits_message.store(2 * i + 1);
    lines().awaits_space.store(2 * i + 1);
    ASSERT_TRUE(victim().try_push(numbered(i)));
    RingMessage message;
    ASSERT_TRUE(peer().try_pop(message));
    EXPECT_EQ(message, numbered(i));
  }
}

TEST_F(BrokenPeerTest, CannotKeepASleeperFromItsDeadlineByWakingIt) {
  std::atomic<bool> is_over = false;
  std::thread waking([&] {
    while (!is_over) {
      wake_victim();
    }
  });
  const Instant soon = SystemClock().now() + std::chrono::milliseconds(2);
  EXPECT_EQ(victim().wait_for_message(soon).code(), ErrorCode::kDeadlineExceeded);
  EXPECT_GE(SystemClock().now(), soon);
  is_over = true;
  waking.join();
}

}  // namespace
}  // namespace pinion
