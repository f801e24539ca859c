#pragma once

#include "conformance/transport_fixture.hpp"
#include "conformance/transport_sides.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {

TYPED_TEST_SUITE_P(TransportConformance);

TYPED_TEST_P(TransportConformance, DeliversMessagesInTheirOrder) {
  auto [one, two] = this->pair();
  constexpr std::size_t kCount = 5000;
  for (std::size_t i = 0; i < kCount; ++i) {
    // Some are long, so that different ways through the transport follow each other.
    const std::string text = std::to_string(i) + std::string(i % 100 == 0 ? 20000 : i % 7, 'x');
    one.send(2, testing_transport::bytes_of(text));
    if (i % 3 == 0) {
      two.send(1, testing_transport::bytes_of(text));
    }
  }
  const auto messages = two.wait_for_messages(1, kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    ASSERT_EQ(std::stoull(testing_transport::text_of(messages[i])), i);
  }
  const auto others = one.wait_for_messages(2, (kCount + 2) / 3);
  for (std::size_t i = 0; i < others.size(); ++i) {
    ASSERT_EQ(std::stoull(testing_transport::text_of(others[i])), 3 * i);
  }
}

TYPED_TEST_P(TransportConformance, DeliversEmptyAndLargeMessages) {
  auto [one, two] = this->pair();
  const std::array<std::size_t, 8> sizes = {0, 1, 8192, 0, 65536, 5'000'000, 7, 3'000'000};
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    one.send(2, this->pattern(sizes[i], static_cast<unsigned>(i)));
  }
  const auto messages = two.wait_for_messages(1, sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    ASSERT_EQ(messages[i], this->pattern(sizes[i], static_cast<unsigned>(i))) << sizes[i];
  }
}

TYPED_TEST_P(TransportConformance, RefusesWhatIsTooLong) {
  const auto sides = this->pair();
  auto& one = sides.first;
  auto& two = sides.second;
  const std::vector<std::byte> longer(kMessageBytesMax + 1);
  EXPECT_EQ(one.transport->send(2, longer).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(one.request(2, longer)->wait().error().code(), ErrorCode::kInvalidArgument);
  two.on_request = [&longer](std::uint32_t, std::span<const std::byte>) { return longer; };
  EXPECT_EQ(one.request(2, {})->wait().error().code(), ErrorCode::kInvalidArgument);
}

TYPED_TEST_P(TransportConformance, ReachesNobodyWhoIsNotConnected) {
  auto& one = this->join(1);
  EXPECT_EQ(one.transport->send(2, {}).code(), ErrorCode::kUnavailable);
  EXPECT_EQ(one.request(2, {})->wait().error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(one.pull({.length_bytes = 5, .host = 2})->wait().error().code(),
            ErrorCode::kUnavailable);
  EXPECT_EQ(one.blobs.sealed(), 0u);
  EXPECT_TRUE(this->peers_of(one).empty());
}

TYPED_TEST_P(TransportConformance, AnswersRequests) {
  auto [one, two] = this->pair();
  for (const std::size_t size : {0u, 1u, 8u, 5000u, 100'000u, 3'000'000u}) {
    const auto request = this->pattern(size, 3);
    EXPECT_EQ(*one.request(2, request)->wait(), request) << size;
    EXPECT_EQ(*two.request(1, request)->wait(), request) << size;
  }
}

TYPED_TEST_P(TransportConformance, AnswersEachRequestWithItsOwnReply) {
  auto [one, two] = this->pair();
  std::vector<std::shared_ptr<testing_transport::Reply>> replies;
  for (unsigned i = 0; i < 500; ++i) {
    replies.push_back(one.request(2, this->pattern(i, i)));
  }
  for (unsigned i = 0; i < replies.size(); ++i) {
    EXPECT_EQ(*replies[i]->wait(), this->pattern(i, i));
  }
}

TYPED_TEST_P(TransportConformance, PassesOnTheErrorOfAReply) {
  auto [one, two] = this->pair();
  two.on_request = [](std::uint32_t from,
                      std::span<const std::byte>) -> Result<std::vector<std::byte>> {
    return Status(ErrorCode::kOutOfRange, "host " + std::to_string(from) + " wants too much");
  };
  const auto reply = one.request(2, {});
  EXPECT_EQ(reply->wait().error().code(), ErrorCode::kOutOfRange);
  EXPECT_EQ(reply->wait().error().message(), "host 1 wants too much");
}

TYPED_TEST_P(TransportConformance, SaysWhatItHasNoHandlerFor) {
  auto& one = this->join(1);
  auto& two = this->sides_.emplace_back(2);
  two.transport = *this->host_.make(2, {}, {});
  ASSERT_TRUE(one.transport->connect(2, two.transport->address()).ok());
  ASSERT_TRUE(one.wait_for_peer(2, 1).ok());
  one.send(2, this->pattern(10, 1));
  EXPECT_EQ(one.request(2, {})->wait().error().code(), ErrorCode::kUnimplemented);
  EXPECT_EQ(one.pull({.length_bytes = 5, .host = 2})->wait().error().code(),
            ErrorCode::kUnimplemented);
}

TYPED_TEST_P(TransportConformance, GivesUpARequestAtItsDeadline) {
  auto [one, two] = this->pair();
  two.hold();
  const auto late = one.request(2, this->pattern(5, 1), std::chrono::milliseconds(5));
  EXPECT_EQ(late->wait().error().code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(one.request(2, {}, Duration(0))->wait().error().code(), ErrorCode::kDeadlineExceeded);
  two.release();
  // The replies that come too late are for nobody, also not for the next request.
  EXPECT_EQ(*one.request(2, this->pattern(7, 2))->wait(), this->pattern(7, 2));
}

TYPED_TEST_P(TransportConformance, PullsBlobsOfAnySize) {
  auto [one, two] = this->pair();
  unsigned sealed = 0;
  for (const std::size_t size : {0u, 1u, 64u << 10, (1u << 20) + 1, 40u << 20}) {
    const auto bytes = this->pattern(size, 5);
    const BlobHandle handle = two.blobs.add(2, bytes);
    const auto pulled = one.pull(handle);
    ASSERT_TRUE(pulled->wait().has_value()) << pulled->wait().error().to_string();
    EXPECT_TRUE(std::ranges::equal(pulled->wait()->bytes(), bytes)) << size;
    EXPECT_EQ(one.blobs.sealed(), ++sealed);
  }
}

TYPED_TEST_P(TransportConformance, PullsPartsOfBlobs) {
  auto [one, two] = this->pair();
  const auto bytes = this->pattern(5 << 20, 6);
  const BlobHandle handle = two.blobs.add(2, bytes);
  for (const auto& [offset, length] : std::vector<std::pair<std::size_t, std::size_t>>{
           {0, 0}, {0, 100}, {4096, 5000}, {77, 3 << 20}, {(5 << 20) - 9, 9}, {5 << 20, 0}}) {
    const auto pulled = one.pull_part({handle, offset, length});
    ASSERT_TRUE(pulled->wait().has_value()) << pulled->wait().error().to_string();
    EXPECT_TRUE(
        std::ranges::equal(pulled->wait()->bytes(), std::span(bytes).subspan(offset, length)))
        << offset << ", " << length;
  }
}

TYPED_TEST_P(TransportConformance, PullsSeveralAtOnceBothWays) {
  auto [one, two] = this->pair();
  constexpr std::array<std::size_t, 6> kSizes = {3 << 20, 100, 2 << 20, 0, 9000, 5 << 20};
  std::vector<std::pair<std::shared_ptr<testing_transport::Pulled>, std::size_t>> pulls;
  for (unsigned i = 0; i < 24; ++i) {
    const std::size_t size = kSizes[i % kSizes.size()] + i;
    pulls.emplace_back(one.pull(two.blobs.add(2, this->pattern(size, i))), size);
    pulls.emplace_back(two.pull(one.blobs.add(1, this->pattern(size, i))), size);
  }
  for (unsigned i = 0; i < pulls.size(); ++i) {
    auto& [pulled, size] = pulls[i];
    ASSERT_TRUE(pulled->wait().has_value()) << pulled->wait().error().to_string();
    EXPECT_TRUE(std::ranges::equal(pulled->wait()->bytes(), this->pattern(size, i / 2)));
  }
}

TYPED_TEST_P(TransportConformance, APullFailsWithTheErrorOfTheOwner) {
  auto [one, two] = this->pair();
  for (const std::uint64_t length : {std::uint64_t{5}, std::uint64_t{5} << 20}) {
    const auto pulled = one.pull({.length_bytes = length, .host = 2, .index = 77});
    EXPECT_EQ(pulled->wait().error().code(), ErrorCode::kNotFound);
    EXPECT_EQ(pulled->wait().error().message(), "there is no blob 77");
  }
  BlobHandle wrong = two.blobs.add(2, this->pattern(100, 1));
  wrong.length_bytes = 200;
  EXPECT_EQ(one.pull(wrong)->wait().error().code(), ErrorCode::kDataLoss);
  EXPECT_EQ(one.blobs.sealed(), 0u);
}

TYPED_TEST_P(TransportConformance, APullByAHandleOfAnotherGenerationIsRefused) {
  auto [one, two] = this->pair();
  for (const std::size_t size : {0u, 100u, 1u << 20}) {
    BlobHandle stale = two.blobs.add(2, this->pattern(size, 1));
    ++stale.generation;
    for (const auto& pulled : {one.pull(stale), one.pull_part({stale, size / 2, size / 2})}) {
      EXPECT_EQ(pulled->wait().error().code(), ErrorCode::kFailedPrecondition) << size;
    }
  }
  EXPECT_EQ(one.blobs.sealed(), 0u);
}

TYPED_TEST_P(TransportConformance, SealsNothingThatWasDamagedOnItsWay) {
  auto [one, two] = this->pair();
  for (const std::size_t size : {10u, 100'000u, 3u << 20}) {
    const BlobHandle handle = two.blobs.add(2, this->pattern(size, 1));
    this->host_.damage_pulls();
    const auto damaged = one.pull(handle);
    EXPECT_EQ(damaged->wait().error().code(), ErrorCode::kDataLoss) << size;
    EXPECT_THAT(std::string(damaged->wait().error().message()), ::testing::HasSubstr("checksum"));
    EXPECT_EQ(one.blobs.sealed(), 0u);
    this->host_.leave_pulls_whole();
  }
  const BlobHandle handle = two.blobs.add(2, this->pattern(3 << 20, 1));
  EXPECT_TRUE(one.pull(handle)->wait().has_value());
}

TYPED_TEST_P(TransportConformance, HoldsABlobUntilItHasArrived) {
  const auto sides = this->pair();
  auto& one = sides.first;
  auto bytes = std::make_shared<const std::vector<std::byte>>(this->pattern(8 << 20, 9));
  const std::weak_ptr<const std::vector<std::byte>> there = bytes;
  const BlobHandle handle = {.length_bytes = bytes->size(), .host = 2};
  auto& third = this->sides_.emplace_back(3);
  TransportHandlers handlers = third.handlers();
  handlers.on_pull = [&bytes](std::uint32_t, const BlobHandle& of) -> Result<Blob> {
    const std::span<const std::byte> span = *bytes;
    return Blob(of, {}, span, std::exchange(bytes, nullptr));  // The only reference.
  };
  third.transport = *this->host_.make(3, handlers, {});
  this->connect(one, third);
  BlobHandle of_third = handle;
  of_third.host = 3;
  const auto pulled = one.pull(of_third);
  ASSERT_TRUE(pulled->wait().has_value()) << pulled->wait().error().to_string();
  EXPECT_TRUE(std::ranges::equal(pulled->wait()->bytes(), this->pattern(8 << 20, 9)));
  while (!there.expired()) {
    std::this_thread::yield();  // The owner is told by a message.
  }
}

TYPED_TEST_P(TransportConformance, RefusesToSendWhatAPeerDoesNotTake) {
  auto [one, two] = this->pair({.window_bytes = 65536});
  two.hold();
  std::size_t accepted = 0;
  Status status;
  while ((status = one.transport->send(2, this->pattern(1000, 1))).ok()) {
    ++accepted;
    ASSERT_LE(accepted, 65u);
  }
  EXPECT_EQ(status.code(), ErrorCode::kResourceExhausted);
  EXPECT_GE(accepted, 60u);
  EXPECT_EQ(one.request(2, {})->wait().error().code(), ErrorCode::kResourceExhausted);
  two.release();
  for (unsigned i = 0; i < 200; ++i) {
    one.send(2, this->pattern(1000, 2));
  }
  EXPECT_EQ(two.wait_for_messages(1, accepted + 200).size(), accepted + 200);
}

TYPED_TEST_P(TransportConformance, TellsWhoIsReachableAndWhoIsGone) {
  auto [one, two] = this->pair();
  one.send(2, this->pattern(1000, 1));
  two.wait_for_messages(1, 1);
  const auto peers = this->peers_of(two);
  ASSERT_EQ(peers.size(), 1u);
  EXPECT_EQ(peers[0].host, 1u);
  EXPECT_TRUE(peers[0].reachable);
  EXPECT_FALSE(peers[0].path.empty());
  EXPECT_GT(peers[0].received_bytes, 1000u);
  EXPECT_GT(peers[0].sent_bytes, 0u);

  one.transport.reset();
  const Status gone = two.wait_for_peer(1, 2);
  EXPECT_EQ(gone.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(std::string(gone.message()), ::testing::HasSubstr("host 1"));
  EXPECT_EQ(two.transport->send(1, {}).code(), ErrorCode::kUnavailable);
  EXPECT_FALSE(this->peers_of(two)[0].reachable);
  EXPECT_TRUE(this->peers_of(two)[0].path.empty());
}

TYPED_TEST_P(TransportConformance, ConnectsAHostThatCameBack) {
  auto [one, two] = this->pair();
  one.transport.reset();
  EXPECT_FALSE(two.wait_for_peer(1, 2).ok());
  auto& again = this->join(1);
  this->connect(again, two);
  again.send(2, this->pattern(3, 3));
  EXPECT_EQ(two.wait_for_messages(1, 1)[0], this->pattern(3, 3));
  EXPECT_EQ(*two.request(1, this->pattern(4, 4))->wait(), this->pattern(4, 4));
  EXPECT_EQ(this->peers_of(two).size(), 1u);
}

TYPED_TEST_P(TransportConformance, FailsWhatIsUnderWayToAHostThatFallsSilent) {
  auto& one = this->join(1, {.keepalive = std::chrono::milliseconds(50)});
  auto& two = this->join(2);
  this->connect(one, two);
  const BlobHandle handle = two.blobs.add(2, this->pattern(3 << 20, 1));
  two.hold();
  const auto first = one.request(2, {});
  const auto second = one.request(2, this->pattern(100, 1));
  const auto pulled = one.pull(handle);
  const auto small = one.pull({.length_bytes = 1, .host = 2});
  EXPECT_EQ(first->wait().error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(second->wait().error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(pulled->wait().error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(small->wait().error().code(), ErrorCode::kUnavailable);
  const Status gone = one.wait_for_peer(2, 2);
  EXPECT_EQ(gone.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(std::string(gone.message()), ::testing::HasSubstr("nothing was heard"));
  EXPECT_EQ(one.blobs.sealed(), 0u);
  two.release();
  EXPECT_EQ(two.wait_for_peer(1, 2).code(), ErrorCode::kUnavailable);
}

TYPED_TEST_P(TransportConformance, AnswersEverythingOnceWhenAPeerEnds) {
  auto [one, two] = this->pair();
  const BlobHandle handle = two.blobs.add(2, this->pattern(2 << 20, 1));
  std::vector<std::shared_ptr<testing_transport::Reply>> replies;
  std::vector<std::shared_ptr<testing_transport::Pulled>> pulls;
  for (unsigned i = 0; i < 20; ++i) {
    replies.push_back(one.request(2, this->pattern(5000, i)));
    pulls.push_back(one.pull(handle));
  }
  two.transport.reset();
  for (const auto& reply : replies) {
    EXPECT_TRUE(reply->wait().has_value() ||
                reply->wait().error().code() == ErrorCode::kUnavailable);
  }
  for (const auto& pulled : pulls) {
    EXPECT_TRUE(pulled->wait().has_value() ||
                pulled->wait().error().code() == ErrorCode::kUnavailable);
  }
  EXPECT_EQ(one.wait_for_peer(2, 2).code(), ErrorCode::kUnavailable);
}

TYPED_TEST_P(TransportConformance, TheDestructorCancelsWhatIsUnderWay) {
  auto [one, two] = this->pair();
  const BlobHandle handle = two.blobs.add(2, this->pattern(3 << 20, 1));
  two.hold();
  const auto reply = one.request(2, {});
  const auto pulled = one.pull(handle);
  two.wait_until_held();
  one.transport.reset();
  EXPECT_EQ(reply->wait().error().code(), ErrorCode::kCancelled);
  EXPECT_EQ(pulled->wait().error().code(), ErrorCode::kCancelled);
  EXPECT_EQ(one.blobs.sealed(), 0u);
}

TYPED_TEST_P(TransportConformance, BothMayEndAtOnce) {
  const auto sides = this->pair();
  auto& one = sides.first;
  auto& two = sides.second;
  const BlobHandle of_one = one.blobs.add(1, this->pattern(2 << 20, 1));
  const BlobHandle of_two = two.blobs.add(2, this->pattern(2 << 20, 2));
  std::vector<std::shared_ptr<testing_transport::Pulled>> pulls;
  for (unsigned i = 0; i < 20; ++i) {
    pulls.push_back(one.pull(of_two));
    pulls.push_back(two.pull(of_one));
  }
  std::thread other([&side = two] { side.transport.reset(); });
  one.transport.reset();
  other.join();
  for (const auto& pulled : pulls) {
    EXPECT_TRUE(pulled->wait().has_value() ||
                pulled->wait().error().code() == ErrorCode::kUnavailable ||
                pulled->wait().error().code() == ErrorCode::kCancelled);
  }
}

TYPED_TEST_P(TransportConformance, ConnectsAHostOnce) {
  auto& one = this->join(1);
  auto& two = this->join(2);
  ASSERT_TRUE(one.transport->connect(2, two.transport->address()).ok());
  EXPECT_EQ(one.transport->connect(2, two.transport->address()).code(), ErrorCode::kAlreadyExists);
  ASSERT_TRUE(one.wait_for_peer(2, 1).ok());
  ASSERT_TRUE(two.wait_for_peer(1, 1).ok());
  EXPECT_EQ(one.transport->connect(2, two.transport->address()).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(two.transport->connect(1, one.transport->address()).code(), ErrorCode::kAlreadyExists);
}

TYPED_TEST_P(TransportConformance, BothMayConnectAtOnce) {
  for (int round = 0; round < 20; ++round) {
    auto& one = this->join(1);
    auto& two = this->join(2);
    const std::string address = one.transport->address();
    // Each may be too late: the other has connected it.
    std::thread other([&] {
      EXPECT_THAT(two.transport->connect(1, address).code(),
                  ::testing::AnyOf(ErrorCode::kOk, ErrorCode::kAlreadyExists));
    });
    EXPECT_THAT(one.transport->connect(2, two.transport->address()).code(),
                ::testing::AnyOf(ErrorCode::kOk, ErrorCode::kAlreadyExists));
    other.join();
    ASSERT_TRUE(one.wait_for_peer(2, 1).ok());
    ASSERT_TRUE(two.wait_for_peer(1, 1).ok());
    EXPECT_EQ(*one.request(2, this->pattern(3, 1))->wait(), this->pattern(3, 1));
    EXPECT_EQ(*two.request(1, this->pattern(4, 1))->wait(), this->pattern(4, 1));
    EXPECT_EQ(one.peer_events(2), 1u);
    EXPECT_EQ(two.peer_events(1), 1u);
    this->sides_.clear();
  }
}

TYPED_TEST_P(TransportConformance, RefusesAddressesThatAreNone) {
  auto& one = this->join(1);
  for (const char* const address : {"", "nonsense", "in-process:", "ucx:", "ucx:1.2.3.4",
                                    "ucx:1.2.3.4:port", "ucx:1.2.3.4:0", "in-process:1x"}) {
    EXPECT_EQ(one.transport->connect(2, address).code(), ErrorCode::kInvalidArgument) << address;
  }
  EXPECT_EQ(one.transport->connect(1, one.transport->address()).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_TRUE(this->peers_of(one).empty());
}

TYPED_TEST_P(TransportConformance, SaysThatNobodyIsThere) {
  auto& one = this->join(1);
  auto& two = this->join(2);
  const std::string address = two.transport->address();
  EXPECT_EQ(address, two.transport->address());
  two.transport.reset();
  ASSERT_TRUE(one.transport->connect(2, address).ok());
  const Status refused = one.wait_for_peer(2, 1);
  EXPECT_EQ(refused.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("host 2"));
  EXPECT_EQ(one.transport->send(2, {}).code(), ErrorCode::kUnavailable);
  // It may be tried again.
  EXPECT_TRUE(one.transport->connect(2, address).ok());
  EXPECT_EQ(one.wait_for_peer(2, 2).code(), ErrorCode::kUnavailable);
}

TYPED_TEST_P(TransportConformance, RefusesAHostThatIsAnotherOne) {
  auto& one = this->join(1);
  auto& two = this->join(2);
  ASSERT_TRUE(one.transport->connect(3, two.transport->address()).ok());
  const Status refused = one.wait_for_peer(3, 1);
  EXPECT_EQ(refused.code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("this is host 2"));
  EXPECT_THAT(std::string(two.wait_for_refusals(1)[0].message()),
              ::testing::HasSubstr("host 1 looks for host 3"));

  auto& also_two = this->join(2);
  ASSERT_TRUE(also_two.transport->connect(1, two.transport->address()).ok());
  EXPECT_EQ(also_two.wait_for_peer(1, 1).code(), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(two.peer_events(1), 0u);
}

// Each stranger takes the number of a host that is connected, and is a later life of it.
TYPED_TEST_P(TransportConformance, LeavesAHostAloneThatAStrangerOfAnotherJobSaysItIs) {
  const JobKey key = {.job = 1, .epoch = 2, .proof = {std::byte{3}}};
  auto [one, two] = this->pair({.job_key = key});
  const std::array<JobKey, 3> others = {{{.job = 9, .epoch = 2, .proof = {std::byte{3}}},
                                         {.job = 1, .epoch = 9, .proof = {std::byte{3}}},
                                         {.job = 1, .epoch = 2, .proof = {std::byte{9}}}}};
  const std::array<const char*, 3> words = {"host 2 is of job 9, epoch 2, and host 1 of job 1",
                                            "host 2 is of job 1, epoch 9, and host 1 of job 1",
                                            "cannot prove it"};
  for (std::size_t i = 0; i < others.size(); ++i) {
    auto& stranger = this->join(2, {.job_key = others[i]});
    ASSERT_TRUE(stranger.transport->connect(1, one.transport->address()).ok());
    const Status refused = stranger.wait_for_peer(1, 1);
    EXPECT_EQ(refused.code(),
              i == 2 ? ErrorCode::kUnauthenticated : ErrorCode::kFailedPrecondition);
    EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr(words[i]));
    EXPECT_EQ(one.wait_for_refusals(i + 1)[i].code(), refused.code());
    EXPECT_EQ(*one.request(2, this->pattern(9, 1))->wait(), this->pattern(9, 1));
    EXPECT_EQ(*two.request(1, this->pattern(8, 1))->wait(), this->pattern(8, 1));
    EXPECT_EQ(one.transport->connect(2, two.transport->address()).code(),
              ErrorCode::kAlreadyExists);
  }
  EXPECT_EQ(one.peer_events(2), 1u);
  EXPECT_EQ(two.peer_events(1), 1u);
}

TYPED_TEST_P(TransportConformance, HandlersMayCallTheTransport) {
  const auto sides = this->pair();
  auto& one = sides.first;
  auto& two = sides.second;
  // A message goes to and fro until it is long enough.
  auto play = [](auto& side, std::uint32_t other) {
    side.on_message = [&side, other](std::uint32_t, std::span<const std::byte> message) {
      if (message.size() < 200) {
        std::vector<std::byte> longer(message.begin(), message.end());
        longer.push_back(std::byte{1});
        EXPECT_TRUE(side.transport->send(other, longer).ok());
      }
    };
  };
  play(one, 2);
  play(two, 1);
  one.send(2, {});
  one.wait_for_messages(2, 100);
  // A reply leads to the next request, and the last to a pull.
  const BlobHandle handle = two.blobs.add(2, this->pattern(70'000, 1));
  testing_transport::Pulled pulled;
  unsigned left = 200;
  std::function<void(Result<std::vector<std::byte>>)> next = [&](Result<std::vector<std::byte>>) {
    if (--left > 0) {
      one.transport->request(2, {}, std::chrono::hours(1), next);
    } else {
      one.transport->pull(handle, one.blobs.writer(handle),
                          [&](Result<Blob> blob) { pulled.set(std::move(blob)); });
    }
  };
  one.transport->request(2, {}, std::chrono::hours(1), next);
  EXPECT_TRUE(pulled.wait().has_value());
}

TYPED_TEST_P(TransportConformance, ServesManyThreads) {
  const auto sides = this->pair();
  auto& one = sides.first;
  auto& two = sides.second;
  constexpr unsigned kThreads = 4;
  constexpr unsigned kRounds = 100;
  const BlobHandle handle = two.blobs.add(2, this->pattern(20'000, 1));
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (unsigned round = 0; round < kRounds; ++round) {
        one.send(2, testing_transport::bytes_of(std::to_string(thread * 1000 + round)));
        EXPECT_EQ(*one.request(2, this->pattern(thread, round))->wait(),
                  this->pattern(thread, round));
        if (round % 10 == 0) {
          EXPECT_TRUE(one.pull(handle)->wait().has_value());
          EXPECT_EQ(one.transport->peers().size(), 1u);
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  // Those of one thread kept their order.
  std::array<unsigned, kThreads> next = {};
  for (const auto& message : two.wait_for_messages(1, kThreads * kRounds)) {
    const unsigned long number = std::stoul(testing_transport::text_of(message));
    EXPECT_EQ(number % 1000, next[number / 1000]++);
  }
}

TYPED_TEST_P(TransportConformance, KeepsHostsApart) {
  std::vector<testing_transport::Side*> sides;
  for (std::uint32_t host = 0; host < 4; ++host) {
    sides.push_back(&this->join(host));
    for (std::uint32_t other = 0; other < host; ++other) {
      this->connect(*sides[host], *sides[other]);
    }
  }
  for (std::uint32_t from = 0; from < 4; ++from) {
    for (std::uint32_t to = 0; to < 4; ++to) {
      for (unsigned i = 0; from != to && i < 50; ++i) {
        sides[from]->send(to, this->pattern(from * 10 + to + 1, i));
      }
    }
  }
  for (std::uint32_t from = 0; from < 4; ++from) {
    for (std::uint32_t to = 0; to < 4; ++to) {
      if (from != to) {
        const auto messages = sides[to]->wait_for_messages(from, 50);
        for (unsigned i = 0; i < 50; ++i) {
          EXPECT_EQ(messages[i], this->pattern(from * 10 + to + 1, i));
        }
      }
    }
  }
}

REGISTER_TYPED_TEST_SUITE_P(
    TransportConformance, DeliversMessagesInTheirOrder, DeliversEmptyAndLargeMessages,
    RefusesWhatIsTooLong, ReachesNobodyWhoIsNotConnected, AnswersRequests,
    AnswersEachRequestWithItsOwnReply, PassesOnTheErrorOfAReply, SaysWhatItHasNoHandlerFor,
    GivesUpARequestAtItsDeadline, PullsBlobsOfAnySize, PullsPartsOfBlobs,
    PullsSeveralAtOnceBothWays, APullFailsWithTheErrorOfTheOwner,
    APullByAHandleOfAnotherGenerationIsRefused, SealsNothingThatWasDamagedOnItsWay,
    HoldsABlobUntilItHasArrived, RefusesToSendWhatAPeerDoesNotTake, TellsWhoIsReachableAndWhoIsGone,
    ConnectsAHostThatCameBack, FailsWhatIsUnderWayToAHostThatFallsSilent,
    AnswersEverythingOnceWhenAPeerEnds, TheDestructorCancelsWhatIsUnderWay, BothMayEndAtOnce,
    ConnectsAHostOnce, BothMayConnectAtOnce, RefusesAddressesThatAreNone, SaysThatNobodyIsThere,
    RefusesAHostThatIsAnotherOne, LeavesAHostAloneThatAStrangerOfAnotherJobSaysItIs,
    HandlersMayCallTheTransport, ServesManyThreads, KeepsHostsApart);

}  // namespace pinion
