// What a rank says to its agent through their ring, and is told there.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "agent_link.hpp"
#include "runtime/fake_agent.hpp"

namespace pinion {
namespace {

BlobHandle handle_of(std::uint32_t segment) {
  return {.job = 77, .generation = 1, .length_bytes = 8, .epoch = 1, .host = 2, .segment = segment};
}

// The next message, as an agent takes it.
RingMessage take(RingEnd& ring) {
  RingMessage message;
  while (!ring.try_pop(message)) {
    const Status waited = ring.wait_for_message(Instant::max());
    EXPECT_TRUE(waited.ok()) << waited.to_string();
  }
  return message;
}

std::uint16_t kind_of(const RingMessage& message) {
  return static_cast<std::uint16_t>(message.kind);
}

TEST(AgentLinkRing, GivesSlabsBackAndLetsGoOfBlobsThroughTheRing) {
  std::optional<RingEnd> ring;
  FakeAgent agent(welcoming(refusing_all(), &ring));
  const std::unique_ptr<AgentLink> link = join(agent);
  link->give_back_slab(8);
  link->let_go(handle_of(5));
  const RingMessage slab = take(*ring);
  EXPECT_EQ(kind_of(slab), number_of(FrameKind::kGiveBackSlab));
  EXPECT_EQ(*read_give_back_slab(slab), 8u);
  const RingMessage blob = take(*ring);
  EXPECT_EQ(kind_of(blob), number_of(FrameKind::kLetGo));
  EXPECT_EQ(*read_let_go(blob), handle_of(5));
}

TEST(AgentLinkRing, AsksWhatSegmentsHoldAfterWhatItHasLetGo) {
  std::optional<RingEnd> ring;
  FakeAgent agent(welcoming(refusing_all(), &ring));
  const std::unique_ptr<AgentLink> link = join(agent);
  std::thread answering([&ring] {
    const RingMessage first = take(*ring);
    EXPECT_EQ(kind_of(first), number_of(FrameKind::kAskHeld));
    EXPECT_TRUE(check_ask_held(first).ok());
    EXPECT_TRUE(ring->try_push(make_held(first.request, 1001)));
    EXPECT_EQ(kind_of(take(*ring)), number_of(FrameKind::kLetGo));
    EXPECT_TRUE(ring->try_push(make_held(take(*ring).request, 1002)));
  });
  EXPECT_EQ(link->held_bytes(), 0u);
  EXPECT_EQ(link->ask_held_bytes(), 1001u);
  EXPECT_EQ(link->held_bytes(), 1001u);
  link->let_go(handle_of(5));
  EXPECT_EQ(link->ask_held_bytes(), 1002u);
  answering.join();
}

TEST(AgentLinkRing, TakesOnlyTheAnswerToItsQuestion) {
  std::optional<RingEnd> ring;
  FakeAgent agent(welcoming(refusing_all(), &ring));
  const std::unique_ptr<AgentLink> link = join(agent);
  std::thread answering([&ring] {
    const std::uint64_t request = take(*ring).request;
    EXPECT_TRUE(ring->try_push(make_held(request + 1, 4)));
    EXPECT_TRUE(ring->try_push(make_let_go(handle_of(5))));
    EXPECT_TRUE(ring->try_push(make_held(request, 1001)));
  });
  EXPECT_EQ(link->ask_held_bytes(), 1001u);
  answering.join();
}

TEST(AgentLinkRing, RemembersWhatSegmentsHeldWhereTheAgentDoesNotSay) {
  std::optional<RingEnd> ring;
  FakeAgent agent(welcoming(refusing_all(), &ring));
  const std::unique_ptr<AgentLink> link = join(agent);
  std::thread answering([&ring] {
    EXPECT_TRUE(ring->try_push(make_held(take(*ring).request, 1001)));
    RingMessage without_a_number = make_held(take(*ring).request, 1002);
    without_a_number.length_bytes = 0;
    EXPECT_TRUE(ring->try_push(without_a_number));
  });
  EXPECT_EQ(link->ask_held_bytes(), 1001u);
  EXPECT_EQ(link->ask_held_bytes(), 1001u);
  answering.join();
}

TEST(AgentLinkRing, LosesNothingThatItSaysWhileTheRingIsFull) {
  constexpr std::uint32_t kCount = 50 * kFakeRingCapacity;
  std::optional<RingEnd> ring;
  FakeAgent agent(welcoming(refusing_all(), &ring));
  const std::unique_ptr<AgentLink> link = join(agent);
  std::thread taking([&ring] {
    for (std::uint32_t i = 0; i < kCount; ++i) {
      ASSERT_EQ(*read_let_go(take(*ring)), handle_of(i));
    }
  });
  for (std::uint32_t i = 0; i < kCount; ++i) {
    link->let_go(handle_of(i));
  }
  taking.join();
}

TEST(AgentLinkRing, GivesEachOfManyAskersItsOwnAnswer) {
  constexpr std::uint64_t kThreadCount = 4;
  constexpr std::uint64_t kRoundCount = 100;
  std::optional<RingEnd> ring;
  FakeAgent agent(welcoming(refusing_all(), &ring));
  const std::unique_ptr<AgentLink> link = join(agent);
  std::thread answering([&ring] {
    std::uint64_t question_count = 0;
    while (question_count < kThreadCount * kRoundCount) {
      const RingMessage message = take(*ring);
      if (kind_of(message) == number_of(FrameKind::kAskHeld)) {
        EXPECT_TRUE(ring->try_push(make_held(message.request, ++question_count)));
      }
    }
  });
  std::array<std::vector<std::uint64_t>, kThreadCount> answers;
  std::vector<std::thread> threads;
  for (std::vector<std::uint64_t>& mine : answers) {
    threads.emplace_back([&link, &mine] {
      for (std::uint64_t round = 0; round < kRoundCount; ++round) {
        link->let_go(handle_of(5));
        mine.push_back(link->ask_held_bytes());
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  answering.join();
  std::set<std::uint64_t> all;
  for (const std::vector<std::uint64_t>& mine : answers) {
    EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
    all.insert(mine.begin(), mine.end());
  }
  EXPECT_EQ(all.size(), kThreadCount * kRoundCount);
}

// A question that waits for its answer, and a message that waits for room.
TEST(AgentLinkRing, EndsWaitsForTheRingWhenTheAgentGoes) {
  std::optional<RingEnd> ring;
  FakeAgent agent(welcoming(refusing_all(), &ring));
  const std::unique_ptr<AgentLink> link = join(agent);
  link->leave(0);
  std::thread asking([&link] { EXPECT_EQ(link->ask_held_bytes(), 0u); });
  static_cast<void>(take(*ring));
  std::thread letting_go([&link] {
    for (std::uint32_t i = 0; i <= kFakeRingCapacity; ++i) {
      link->let_go(handle_of(i));
    }
  });
  agent.hang_up();
  asking.join();
  letting_go.join();
}

TEST(AgentLinkRingDeathTest, EndsTheProcessWhenTheAgentDiesWhileItIsAsked) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        std::optional<RingEnd> ring;
        FakeAgent agent(welcoming(refusing_all(), &ring));
        const std::unique_ptr<AgentLink> link = join(agent);
        std::thread dying([&] {
          static_cast<void>(take(*ring));
          agent.hang_up();
        });
        static_cast<void>(link->ask_held_bytes());
        dying.join();
        static_cast<void>(link->receive(Instant::max()));
      },
      ::testing::ExitedWithCode(69), "agent of this job is gone");
}

// What the agent writes of the ring: its cells are the last of it.
void damage_first_cell(const UniqueFd& segment) {
  constexpr off_t kCellBytes = 64;
  const std::uint64_t wrong_turn = 99;
  void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, segment.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  const off_t cells = ::lseek(segment.get(), 0, SEEK_END) - kFakeRingCapacity * kCellBytes;
  std::memcpy(static_cast<std::byte*>(memory) + cells, &wrong_turn, sizeof(wrong_turn));
}

TEST(AgentLinkRingDeathTest, EndsTheProcessWhenTheAgentDamagesTheRing) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        FakeAgent agent([](Channel& channel, const Frame& frame) {
          auto [ours, theirs] = *make_ring(77, 5, kFakeRingCapacity);
          damage_first_cell(ours.descriptors[0]);
          std::vector<int> descriptors;
          for (const UniqueFd& descriptor : theirs.descriptors) {
            descriptors.push_back(descriptor.get());
          }
          return channel.send(number_of(FrameKind::kWelcome), frame.request, encode_welcome({}))
                     .ok() &&
                 channel
                     .send(number_of(FrameKind::kRingTicket), frame.request,
                           encode_ring_address(theirs.address), descriptors)
                     .ok();
        });
        static_cast<void>(join(agent)->ask_held_bytes());
      },
      ::testing::ExitedWithCode(74), "has damaged ring");
}

}  // namespace
}  // namespace pinion
