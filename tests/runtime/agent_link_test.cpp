#include "agent_link.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/fake_agent.hpp"

namespace pinion {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Place kHome = {.kind = PlaceKind::kNuma, .index = 1, .host = 2};

BlobHandle handle_of(std::uint32_t segment) {
  return {.job = 77, .generation = 1, .length_bytes = 8, .epoch = 1, .host = 2, .segment = segment};
}

UniqueFd make_memory(const std::string& content) {
  UniqueFd memory(::memfd_create("pinion-test", MFD_CLOEXEC));
  EXPECT_TRUE(memory.valid());
  EXPECT_EQ(::write(memory.get(), content.data(), content.size()),
            static_cast<ssize_t>(content.size()));
  return memory;
}

std::string content_of(const UniqueFd& memory) {
  std::string content(64, '\0');
  const ssize_t size = ::pread(memory.get(), content.data(), content.size(), 0);
  EXPECT_GE(size, 0);
  content.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return content;
}

// Where an agent answers with a blob's memory.
bool send_memory(Channel& channel, const Frame& request, const std::string& content) {
  const UniqueFd memory = make_memory(content);
  const BlobReference asked = *decode_reference(request.payload);
  const int descriptor = memory.get();
  return channel
      .send(number_of(FrameKind::kDescriptor), request.request,
            encode_reference({asked.handle, kHome}), {&descriptor, 1})
      .ok();
}

// The error of joining an agent that treats the hello as `on_hello` says.
Status join_error(const FakeAgent::OnFrame& on_hello) {
  FakeAgent agent(on_hello);
  const auto joined = AgentLink::join(agent.take_rank_end(), {"1.2.3", 7});
  EXPECT_FALSE(joined.has_value());
  return joined ? Status() : joined.error();
}

TEST(AgentLinkJoin, TellsTheAgentWhoJoinsAndTheRankWhatItIs) {
  Hello seen;
  Welcome welcome;
  welcome.info.rank = 3;
  welcome.first_segment = 65536;
  FakeAgent agent([&](Channel& channel, const Frame& frame) {
    seen = *decode_hello(frame.payload);
    return take_in(channel, frame, welcome);
  });
  const auto joined = AgentLink::join(agent.take_rank_end(), {"1.2.3", 4711});
  ASSERT_TRUE(joined.has_value()) << joined.error().to_string();
  EXPECT_EQ(joined->second.info.rank, 3u);
  EXPECT_EQ(joined->second.first_segment, 65536u);
  EXPECT_EQ(seen.version, "1.2.3");
  EXPECT_EQ(seen.pid, 4711);
}

TEST(AgentLinkJoin, IsRefusedWithTheAgentsWords) {
  const Status refused = join_error([](Channel& channel, const Frame& frame) {
    return send_status(channel, frame.request,
                       Status(ErrorCode::kFailedPrecondition, "built with Pinion 9.9.9"));
  });
  EXPECT_EQ(refused.code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("refuses this rank"), HasSubstr("built with Pinion 9.9.9")));
}

TEST(AgentLinkJoin, IsUnavailableWhenTheAgentHangsUp) {
  EXPECT_EQ(join_error([](Channel&, const Frame&) { return false; }).code(),
            ErrorCode::kUnavailable);
}

TEST(AgentLinkJoin, IsUnavailableWhenTheAgentWasGoneBefore) {
  std::array<int, 2> ends = {};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  UniqueFd rank_end(ends[0]);
  UniqueFd(ends[1]).reset();
  const auto joined = AgentLink::join(std::move(rank_end), {"1.2.3", 7});
  ASSERT_FALSE(joined.has_value());
  EXPECT_EQ(joined.error().code(), ErrorCode::kUnavailable);
}

TEST(AgentLinkJoin, RefusesAnAnswerThatIsNoWelcome) {
  EXPECT_EQ(join_error([](Channel& channel, const Frame& frame) {
              return channel.send(number_of(FrameKind::kWelcome), frame.request, {}).ok();
            }).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(join_error([](Channel& channel, const Frame& frame) {
              return send_status(channel, frame.request, Status());
            }).code(),
            ErrorCode::kInternal);
  EXPECT_EQ(join_error([](Channel& channel, const Frame& frame) {
              return channel.send(number_of(FrameKind::kControl), frame.request, {}).ok();
            }).code(),
            ErrorCode::kInternal);
}

TEST(AgentLinkJoin, RefusesAWelcomeThatNoRingFollows) {
  const auto error_after_welcome = [](const std::function<bool(Channel&, const Frame&)>& go_on) {
    return join_error([&go_on](Channel& channel, const Frame& frame) {
      return channel.send(number_of(FrameKind::kWelcome), frame.request, encode_welcome({})).ok() &&
             go_on(channel, frame);
    });
  };
  constexpr std::uint16_t kKind = number_of(FrameKind::kRingTicket);
  EXPECT_EQ(error_after_welcome([](Channel&, const Frame&) { return false; }).code(),
            ErrorCode::kUnavailable);
  EXPECT_EQ(error_after_welcome([](Channel& channel, const Frame& frame) {
              return send_status(channel, frame.request, {ErrorCode::kResourceExhausted, "no"});
            }).code(),
            ErrorCode::kResourceExhausted);
  EXPECT_EQ(error_after_welcome([](Channel& channel, const Frame& frame) {
              return channel.send(kKind, frame.request, encode_ring_address({})).ok();
            }).code(),
            ErrorCode::kInternal);
  EXPECT_EQ(error_after_welcome([](Channel& channel, const Frame& frame) {
              return channel
                  .send(kKind, frame.request, encode_ring_address({.capacity = 4}),
                        std::vector<int>(kRingDescriptorCount, channel.descriptor()))
                  .ok();
            }).code(),
            ErrorCode::kFailedPrecondition);
}

TEST(AgentLinkJoin, RefusesADescriptorThatIsNoSocket) {
  const auto joined = AgentLink::join(make_memory("x"), {"1.2.3", 7});
  ASSERT_FALSE(joined.has_value());
  EXPECT_EQ(joined.error().code(), ErrorCode::kInvalidArgument);
}

TEST(AgentLink, GivesTheAgentTheMemoryThatItPublishes) {
  std::string content;
  BlobReference reference;
  FakeAgent agent(welcoming([&](Channel& channel, const Frame& frame) {
    EXPECT_EQ(frame.kind, number_of(FrameKind::kPublish));
    EXPECT_EQ(frame.descriptors.size(), 1u);
    content = content_of(frame.descriptors.at(0));
    reference = *decode_reference(frame.payload);
    return send_status(channel, frame.request, Status());
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  const UniqueFd memory = make_memory("a partial");
  const Status published = link->publish(handle_of(5), kHome, memory.get());
  EXPECT_TRUE(published.ok()) << published.to_string();
  EXPECT_EQ(content, "a partial");
  EXPECT_EQ(reference.handle, handle_of(5));
  EXPECT_EQ(reference.home, kHome);
  EXPECT_NE(::fcntl(memory.get(), F_GETFD), -1) << "the descriptor stays the caller's";
}

TEST(AgentLink, FetchesTheMemoryBehindAHandle) {
  BlobHandle asked;
  FakeAgent agent(welcoming([&](Channel& channel, const Frame& frame) {
    EXPECT_EQ(frame.kind, number_of(FrameKind::kFetch));
    asked = decode_reference(frame.payload)->handle;
    return send_memory(channel, frame, "a partial");
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  const auto fetched = link->fetch(handle_of(5));
  ASSERT_TRUE(fetched.has_value()) << fetched.error().to_string();
  EXPECT_EQ(content_of(fetched->first), "a partial");
  EXPECT_EQ(fetched->second, kHome);
  EXPECT_EQ(asked, handle_of(5));
  EXPECT_NE(::fcntl(fetched->first.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(AgentLink, PassesTheAgentsErrorsOn) {
  FakeAgent agent(welcoming(refusing_all()));
  const std::unique_ptr<AgentLink> link = join(agent);
  const UniqueFd memory = make_memory("x");
  const Status published = link->publish(handle_of(5), kHome, memory.get());
  EXPECT_EQ(published.code(), ErrorCode::kUnimplemented);
  EXPECT_EQ(published.message(), "this agent does nothing");
  EXPECT_EQ(link->fetch(handle_of(5)).error().code(), ErrorCode::kUnimplemented);
}

TEST(AgentLink, RefusesToPublishADescriptorThatIsNotOpen) {
  FakeAgent agent(welcoming(refusing_all()));
  const std::unique_ptr<AgentLink> link = join(agent);
  EXPECT_EQ(link->publish(handle_of(5), kHome, -1).code(), ErrorCode::kInvalidArgument);
  // The link is as good as before.
  EXPECT_EQ(link->fetch(handle_of(5)).error().code(), ErrorCode::kUnimplemented);
}

TEST(AgentLink, RefusesAnswersToAFetchThatBringNoMemory) {
  int fetch_count = 0;
  FakeAgent agent(welcoming([&](Channel& channel, const Frame& frame) {
    switch (++fetch_count) {
      case 1:
        return send_status(channel, frame.request, Status());
      case 2:
        return channel.send(number_of(FrameKind::kDescriptor), frame.request, frame.payload).ok();
      default:
        return channel.send(number_of(FrameKind::kDescriptor), frame.request, {}).ok();
    }
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  EXPECT_EQ(link->fetch(handle_of(5)).error().code(), ErrorCode::kInternal);
  EXPECT_EQ(link->fetch(handle_of(5)).error().code(), ErrorCode::kInternal);
  EXPECT_EQ(link->fetch(handle_of(5)).error().code(), ErrorCode::kInvalidArgument);
}

TEST(AgentLink, HasARingWithAnotherRank) {
  std::uint32_t asked = 0;
  std::optional<RingEnd> other_end;
  FakeAgent agent(welcoming([&](Channel& channel, const Frame& frame) {
    EXPECT_EQ(frame.kind, number_of(FrameKind::kRing));
    asked = decode_reference(frame.payload)->handle.index;
    auto [ours, theirs] = *make_ring(77, 5, 4);
    std::array<int, 2> watches = {};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, watches.data()), 0);
    const UniqueFd watch(watches[1]);
    std::vector<int> descriptors;
    for (const UniqueFd& descriptor : theirs.descriptors) {
      descriptors.push_back(descriptor.get());
    }
    descriptors.push_back(watch.get());
    other_end.emplace(*RingEnd::attach(std::move(ours), UniqueFd(watches[0])));
    return channel
        .send(number_of(FrameKind::kRingTicket), frame.request, encode_ring_address(theirs.address),
              descriptors)
        .ok();
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  Result<RingEnd> ring = link->ring_with(3);
  ASSERT_TRUE(ring.has_value()) << ring.error().to_string();
  EXPECT_EQ(asked, 3u);
  ASSERT_TRUE(ring->try_push({.request = 9}));
  RingMessage message;
  ASSERT_TRUE(other_end->try_pop(message));
  EXPECT_EQ(message.request, 9u);
}

TEST(AgentLink, RefusesAnswersThatBringNoRing) {
  int ask_count = 0;
  FakeAgent agent(welcoming([&](Channel& channel, const Frame& frame) {
    constexpr std::uint16_t kKind = number_of(FrameKind::kRingTicket);
    switch (++ask_count) {
      case 1:
        return send_status(channel, frame.request, Status());
      case 2:
        return send_status(channel, frame.request, Status(ErrorCode::kUnavailable, "not yet"));
      case 3:
        return channel.send(kKind, frame.request, encode_ring_address({})).ok();
      default:
        return channel
            .send(kKind, frame.request, {},
                  std::vector<int>(kRingDescriptorCount + 1, channel.descriptor()))
            .ok();
    }
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  EXPECT_EQ(link->ring_with(3).error().code(), ErrorCode::kInternal);
  EXPECT_EQ(link->ring_with(3).error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(link->ring_with(3).error().code(), ErrorCode::kInternal);
  EXPECT_EQ(link->ring_with(3).error().code(), ErrorCode::kInvalidArgument);
}

TEST(AgentLink, AsksForSlabsAndRows) {
  SlabRequest wanted;
  std::vector<std::uint32_t> segments;
  FakeAgent agent(welcoming([&](Channel& channel, const Frame& frame) {
    if (frame.kind == number_of(FrameKind::kMakeSlab)) {
      wanted = *decode_slab_request(frame.payload);
    } else {
      segments.push_back(decode_reference(frame.payload)->handle.segment);
    }
    const bool is_row = frame.kind == number_of(FrameKind::kFetchRow);
    const UniqueFd memory = make_memory(is_row ? "a row" : "a slab");
    const int descriptor = memory.get();
    return channel
        .send(number_of(is_row ? FrameKind::kRow : FrameKind::kSlab), frame.request,
              is_row ? std::vector<std::byte>()
                     : encode_slab_reply({.home = kHome, .held_bytes = 4711, .slot = 9}),
              {&descriptor, 1})
        .ok();
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  EXPECT_EQ(link->row_descriptor(), -1);
  const Result<SlabGrant> made =
      link->make_slab({.home = kHome, .size_bytes = 1 << 20, .segment = 7});
  ASSERT_TRUE(made.has_value()) << made.error().to_string();
  EXPECT_EQ(content_of(made->descriptor), "a slab");
  EXPECT_EQ(made->home, kHome);
  EXPECT_EQ(made->slot, 9u);
  EXPECT_EQ(link->held_bytes(), 4711u);
  EXPECT_EQ(wanted.home, kHome);
  EXPECT_EQ(wanted.size_bytes, 1u << 20);
  EXPECT_EQ(wanted.segment, 7u);
  const Result<SlabGrant> fetched = link->fetch_slab(handle_of(5));
  ASSERT_TRUE(fetched.has_value()) << fetched.error().to_string();
  EXPECT_EQ(content_of(fetched->descriptor), "a slab");
  const Result<UniqueFd> row = link->fetch_row(3);
  ASSERT_TRUE(row.has_value()) << row.error().to_string();
  EXPECT_EQ(content_of(*row), "a row");
  EXPECT_EQ(segments, (std::vector<std::uint32_t>{5, 3}));
}

// A host may have neither a row of references nor memory for large blobs, either, or both.
TEST(AgentLink, TakesWhatAWelcomeBrings) {
  const UniqueFd row = make_memory("a row");
  const UniqueFd writable = make_memory("to write");
  const UniqueFd read_only = make_memory("to read");
  for (const bool has_row : {false, true}) {
    for (const bool has_memory : {false, true}) {
      SCOPED_TRACE(testing::Message() << has_row << has_memory);
      std::vector<int> descriptors;
      if (has_row) {
        descriptors.push_back(row.get());
      }
      if (has_memory) {
        descriptors.insert(descriptors.end(), {writable.get(), read_only.get()});
      }
      FakeAgent agent([&](Channel& channel, const Frame& frame) {
        return frame.kind == number_of(FrameKind::kHello)
                   ? take_in(channel, frame, {}, descriptors)
                   : send_status(channel, frame.request, Status());
      });
      const std::unique_ptr<AgentLink> link = join(agent);
      EXPECT_EQ(link->row_descriptor() >= 0, has_row);
      ASSERT_EQ(link->blob_memory() != nullptr, has_memory);
      if (has_memory) {
        EXPECT_EQ(content_of(link->blob_memory()->writable), "to write");
        EXPECT_EQ(content_of(link->blob_memory()->read_only), "to read");
      }
    }
  }
}

TEST(AgentLink, RefusesAnswersThatBringNoSlab) {
  int count = 0;
  FakeAgent agent(welcoming([&](Channel& channel, const Frame& frame) {
    const UniqueFd memory = make_memory("x");
    const int descriptor = memory.get();
    switch (++count) {
      case 1:
        return send_status(channel, frame.request, Status());
      case 2:
        return channel.send(number_of(FrameKind::kSlab), frame.request, encode_slab_reply({})).ok();
      case 3:
        return channel
            .send(number_of(FrameKind::kSlab), frame.request, frame.payload, {&descriptor, 1})
            .ok();
      case 4:
        return channel.send(number_of(FrameKind::kRow), frame.request, {}).ok();
      default:
        return send_status(channel, frame.request, Status(ErrorCode::kNotFound, "no such slab"));
    }
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  EXPECT_EQ(link->fetch_slab(handle_of(5)).error().code(), ErrorCode::kInternal);
  EXPECT_EQ(link->fetch_slab(handle_of(5)).error().code(), ErrorCode::kInternal);
  EXPECT_EQ(link->fetch_slab(handle_of(5)).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(link->fetch_row(3).error().code(), ErrorCode::kInternal);
  EXPECT_EQ(link->make_slab({}).error().code(), ErrorCode::kNotFound);
}

TEST(AgentLink, HasWordsPrintedBeforeWhatItAsksNext) {
  std::vector<std::string> said;
  FakeAgent agent(welcoming([&](Channel& channel, const Frame& frame) {
    if (frame.kind == number_of(FrameKind::kSayOnce)) {
      said.emplace_back(reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size());
      return true;
    }
    return send_status(channel, frame.request, Status());
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  link->say_once("no GPU");
  link->say_once("");
  EXPECT_TRUE(link->ends_for({}));
  EXPECT_THAT(said, ElementsAre("no GPU", ""));
}

// The agent answers only once all have asked, the last one first.
TEST(AgentLink, GivesEachOfManyThreadsItsOwnAnswer) {
  constexpr std::uint32_t kThreadCount = 8;
  std::vector<Frame> waiting;
  FakeAgent agent(welcoming([&](Channel& channel, Frame frame) {
    waiting.push_back(std::move(frame));
    bool sent = true;
    if (waiting.size() == kThreadCount) {
      for (; !waiting.empty(); waiting.pop_back()) {
        const std::uint32_t segment = decode_reference(waiting.back().payload)->handle.segment;
        sent = sent && send_memory(channel, waiting.back(), "segment " + std::to_string(segment));
      }
    }
    return sent;
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  std::vector<std::thread> threads;
  for (std::uint32_t segment = 0; segment < kThreadCount; ++segment) {
    threads.emplace_back([&link, segment] {
      for (int round = 0; round < 20; ++round) {
        const auto fetched = link->fetch(handle_of(segment));
        ASSERT_TRUE(fetched.has_value()) << fetched.error().to_string();
        ASSERT_EQ(content_of(fetched->first), "segment " + std::to_string(segment));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST(AgentLink, IgnoresAnAnswerThatNobodyWaitsFor) {
  FakeAgent agent(welcoming([](Channel& channel, const Frame& frame) {
    return send_status(channel, frame.request + 1000, Status(ErrorCode::kInternal, "for nobody")) &&
           send_memory(channel, frame, "right");
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  const auto fetched = link->fetch(handle_of(5));
  ASSERT_TRUE(fetched.has_value()) << fetched.error().to_string();
  EXPECT_EQ(content_of(fetched->first), "right");
}

TEST(AgentLink, SaysGoodbyeOnceAndLivesOnQuietly) {
  std::atomic<int> goodbye_count = 0;
  FakeAgent agent([&](Channel& channel, Frame frame) {
    goodbye_count += frame.kind == number_of(FrameKind::kGoodbye) ? 1 : 0;
    return welcoming(refusing_all())(channel, std::move(frame));
  });
  const std::unique_ptr<AgentLink> link = join(agent);
  link->leave(3);
  EXPECT_EQ(goodbye_count, 1);
  agent.hang_up();
  EXPECT_EQ(link->receive(Instant::max()).error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(link->fetch(handle_of(5)).error().code(), ErrorCode::kUnavailable);
  const UniqueFd memory = make_memory("x");
  EXPECT_EQ(link->publish(handle_of(5), kHome, memory.get()).code(), ErrorCode::kUnavailable);
}

TEST(AgentLink, LeavesAnAgentThatDoesNotAnswerTheGoodbye) {
  FakeAgent agent([](Channel& channel, Frame frame) {
    return frame.kind != number_of(FrameKind::kGoodbye) &&
           welcoming(refusing_all())(channel, std::move(frame));
  });
  const std::unique_ptr<AgentLink> link = join(agent);
  link->leave(3);
  EXPECT_EQ(link->receive(Instant::max()).error().code(), ErrorCode::kUnavailable);
}

TEST(AgentLink, EndsWithoutAGoodbyeWhenItIsDropped) {
  int other_count = 0;
  {
    FakeAgent agent([&](Channel& channel, Frame frame) {
      other_count += frame.kind == number_of(FrameKind::kHello) ? 0 : 1;
      return welcoming(refusing_all())(channel, std::move(frame));
    });
    join(agent).reset();
  }
  EXPECT_EQ(other_count, 0);
}

// A fetch of another thread is under way while the program leaves and the agent goes.
TEST(AgentLink, AnswersARequestThatWaitsWhenTheAgentGoes) {
  std::latch asked(1);
  FakeAgent agent(welcoming([&](Channel&, const Frame&) {
    asked.count_down();
    return true;
  }));
  const std::unique_ptr<AgentLink> link = join(agent);
  std::thread fetching(
      [&] { EXPECT_EQ(link->fetch(handle_of(5)).error().code(), ErrorCode::kUnavailable); });
  asked.wait();
  link->leave(0);
  agent.hang_up();
  fetching.join();
}

// The whole program ends: what it works on can no longer count. Its own thread only waits here.
void lose_agent(const std::function<void(AgentLink&)>& wait) {
  FakeAgent agent(welcoming([](Channel&, const Frame&) { return false; }));
  const std::unique_ptr<AgentLink> link = join(agent);
  static_cast<void>(link->send({}));  // Makes the agent hang up.
  wait(*link);
  // A request may fail before the reader sees the end of the socket; this returns only after it
  // has.
  static_cast<void>(link->receive(Instant::max()));
}

TEST(AgentLinkDeathTest, EndsTheProcessWhenTheAgentDies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(lose_agent([](AgentLink& link) { static_cast<void>(link.receive(Instant::max())); }),
              ::testing::ExitedWithCode(69), "agent of this job is gone");
}

TEST(AgentLinkDeathTest, EndsTheProcessWhenTheAgentDiesDuringARequest) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(lose_agent([](AgentLink& link) { static_cast<void>(link.fetch(handle_of(5))); }),
              ::testing::ExitedWithCode(69), "agent of this job is gone");
}

TEST(AgentLinkDeathTest, EndsTheProcessWhenTheAgentSendsRubbish) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        FakeAgent agent(welcoming([](Channel& channel, const Frame&) {
          const std::string rubbish(64, 'x');
          return ::write(channel.descriptor(), rubbish.data(), rubbish.size()) > 0;
        }));
        const std::unique_ptr<AgentLink> link = join(agent);
        static_cast<void>(link->fetch(handle_of(5)));
      },
      ::testing::ExitedWithCode(74), "broken frame");
}

}  // namespace
}  // namespace pinion
