#include <pinion/shm/channel.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <initializer_list>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "shm_host.hpp"

namespace pinion {
namespace {

std::vector<std::byte> make_bytes(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>((i * 131 + (i >> 12) + seed) & 0xff);
  }
  return bytes;
}

// A file that can be told apart by what it holds.
UniqueFd make_file(char mark) {
  UniqueFd file(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::pwrite(file.get(), &mark, 1, 0), 1);
  return file;
}

char mark_of(const UniqueFd& file) {
  char mark = '?';
  EXPECT_EQ(::pread(file.get(), &mark, 1, 0), 1);
  return mark;
}

std::pair<Channel, Channel> make_channels() {
  return *Channel::create_pair();
}

// A channel whose peer the test plays with raw bytes.
struct RawPeer {
  RawPeer() {
    std::array<int, 2> ends = {};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    raw = UniqueFd(ends[0]);
    channel.emplace(*Channel::adopt(UniqueFd(ends[1])));
  }

  void write(std::span<const std::byte> bytes, std::span<const int> descriptors = {}) const {
    iovec part = {const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    std::vector<std::byte> control(CMSG_SPACE(descriptors.size_bytes()));
    if (!descriptors.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* const rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
      std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
    }
    ASSERT_EQ(::sendmsg(raw.get(), &message, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }

  UniqueFd raw;
  std::optional<Channel> channel;
};

struct HeaderFields {
  std::uint32_t magic = 0x464e4950;
  std::uint16_t kind = 1;
  std::uint16_t descriptor_count = 0;
  std::uint32_t payload_bytes = 0;
  std::uint32_t reserved = 0;
  std::uint64_t request = 1;
};
static_assert(sizeof(HeaderFields) == 24);

std::span<const std::byte> bytes_of(const HeaderFields& header) {
  return std::as_bytes(std::span(&header, 1));
}

TEST(Channel, CarriesFramesOfEverySizeBothWays) {
  auto [left, right] = make_channels();
  std::uint64_t request = 0;
  for (const std::size_t size :
       std::initializer_list<std::size_t>{0, 1, 23, 24, 25, 4096, 65536, 1000003}) {
    SCOPED_TRACE(testing::Message() << size << " bytes");
    for (const auto& [source, target] : {std::pair(&left, &right), std::pair(&right, &left)}) {
      ++request;
      const std::vector<std::byte> payload = make_bytes(size, static_cast<unsigned>(request));
      // A reader of its own: the larger frames do not fit into the socket.
      std::thread writer([&, from = source] {
        EXPECT_TRUE(
            from->send(static_cast<std::uint16_t>(0xff00 + request), request << 40, payload).ok());
      });
      const Result<std::optional<Frame>> frame = target->receive();
      writer.join();
      ASSERT_TRUE(frame.has_value() && frame->has_value());
      EXPECT_EQ((*frame)->kind, 0xff00 + request);
      EXPECT_EQ((*frame)->request, request << 40);
      EXPECT_TRUE((*frame)->payload == payload);
      EXPECT_TRUE((*frame)->descriptors.empty());
    }
  }
}

TEST(Channel, WritesTheDocumentedHeader) {
  RawPeer peer;
  ASSERT_TRUE(peer.channel->send(0x0201, 0x0807060504030201, make_bytes(3, 0)).ok());
  std::array<unsigned char, 24> header = {};
  ASSERT_EQ(::recv(peer.raw.get(), header.data(), header.size(), MSG_WAITALL), 24);
  constexpr std::array<unsigned char, 24> kExpected = {'P', 'I', 'N', 'F', 1, 2, 0, 0, 3, 0, 0, 0,
                                                       0,   0,   0,   0,   1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(header, kExpected);
}

TEST(Channel, CarriesEightDescriptors) {
  auto [left, right] = make_channels();
  std::vector<UniqueFd> files;
  std::vector<int> numbers;
  for (const char mark : std::string_view("abcdefgh")) {
    numbers.push_back(files.emplace_back(make_file(mark)).get());
  }
  ASSERT_TRUE(left.send(1, 2, make_bytes(10, 0), numbers).ok());
  files.clear();
  const Result<std::optional<Frame>> frame = right.receive();
  ASSERT_TRUE(frame.has_value() && frame->has_value());
  ASSERT_EQ((*frame)->descriptors.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) {
    const UniqueFd& received = (*frame)->descriptors[i];
    EXPECT_EQ(mark_of(received), "abcdefgh"[i]);
    EXPECT_EQ(::fcntl(received.get(), F_GETFD), FD_CLOEXEC);
  }
}

TEST(Channel, KeepsTheDescriptorsOfFramesApart) {
  auto [left, right] = make_channels();
  const UniqueFd first = make_file('1');
  const UniqueFd second = make_file('2');
  const UniqueFd third = make_file('3');
  const std::array<int, 2> both = {second.get(), third.get()};
  ASSERT_TRUE(left.send(1, 1, {}, std::array{first.get()}).ok());
  ASSERT_TRUE(left.send(2, 2, make_bytes(5, 0)).ok());
  ASSERT_TRUE(left.enqueue(3, 3, make_bytes(100, 0), both).ok());
  ASSERT_TRUE(left.send(4, 4, {}, std::array{first.get()}).ok());

  std::string marks;
  for (std::uint16_t kind = 1; kind <= 4; ++kind) {
    const Result<std::optional<Frame>> frame =
        kind % 2 == 0 ? right.receive() : right.try_receive();
    ASSERT_TRUE(frame.has_value() && frame->has_value());
    EXPECT_EQ((*frame)->kind, kind);
    for (const UniqueFd& descriptor : (*frame)->descriptors) {
      marks += mark_of(descriptor);
    }
    marks += ' ';
  }
  EXPECT_EQ(marks, "1  23 1 ");
}

TEST(Channel, QueuesWhatTheSocketDoesNotTake) {
  auto [left, right] = make_channels();
  constexpr unsigned kFrameCount = 40;
  const UniqueFd file = make_file('f');
  const std::ptrdiff_t descriptors = open_descriptor_count();
  for (unsigned i = 0; i < kFrameCount; ++i) {
    ASSERT_TRUE(left.enqueue(7, i, make_bytes(50000 + i, i), std::array{file.get()}).ok());
  }
  EXPECT_TRUE(left.wants_write());
  EXPECT_GT(left.outbox_bytes(), 0u);
  EXPECT_LT(left.outbox_bytes(), kFrameCount * std::size_t{50100 + 24});

  unsigned received_count = 0;
  for (int round = 0; round < 10000 && received_count < kFrameCount; ++round) {
    Result<std::optional<Frame>> frame = right.try_receive();
    ASSERT_TRUE(frame.has_value()) << frame.error().to_string();
    if (frame->has_value()) {
      EXPECT_EQ((*frame)->request, received_count);
      EXPECT_TRUE((*frame)->payload == make_bytes(50000 + received_count, received_count));
      ASSERT_EQ((*frame)->descriptors.size(), 1u);
      EXPECT_EQ(mark_of((*frame)->descriptors[0]), 'f');
      ++received_count;
    } else {
      ASSERT_TRUE(left.flush().ok());
    }
  }
  EXPECT_EQ(received_count, kFrameCount);
  EXPECT_FALSE(left.wants_write());
  EXPECT_EQ(left.outbox_bytes(), 0u);
  EXPECT_EQ(open_descriptor_count(), descriptors);
}

TEST(Channel, SendsAfterWhatWaitsInTheOutbox) {
  auto [left, right] = make_channels();
  for (unsigned i = 0; i < 20; ++i) {
    ASSERT_TRUE(left.enqueue(1, i, make_bytes(50000, i)).ok());
  }
  ASSERT_TRUE(left.wants_write());
  std::thread writer(
      [&sender = left] { EXPECT_TRUE(sender.send(1, 20, make_bytes(50000, 20)).ok()); });
  for (unsigned i = 0; i <= 20; ++i) {
    const Result<std::optional<Frame>> frame = right.receive();
    ASSERT_TRUE(frame.has_value() && frame->has_value());
    EXPECT_EQ((*frame)->request, i);
    EXPECT_TRUE((*frame)->payload == make_bytes(50000, i));
  }
  writer.join();
}

TEST(Channel, RefusesMoreThanTheOutboxHolds) {
  auto [left, right] = make_channels();
  const std::vector<std::byte> large(kFramePayloadBytesMax);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(left.enqueue(1, 1, large).ok());
  }
  // The socket has taken the begin of the first frame: the fourth still fits, a fifth does not.
  ASSERT_TRUE(left.enqueue(1, 1, large).ok());
  const std::size_t waiting = left.outbox_bytes();
  const Status refused = left.enqueue(1, 1, large);
  EXPECT_EQ(refused.code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(left.outbox_bytes(), waiting);
  EXPECT_TRUE(left.flush().ok());
}

TEST(Channel, SendsWholeFramesFromSeveralThreads) {
  auto [left, right] = make_channels();
  constexpr unsigned kThreadCount = 4;
  constexpr unsigned kFrameCount = 50;
  std::vector<std::thread> writers;
  for (unsigned thread = 0; thread < kThreadCount; ++thread) {
    writers.emplace_back([&sender = left, thread] {
      for (unsigned i = 0; i < kFrameCount; ++i) {
        EXPECT_TRUE(
            sender.send(static_cast<std::uint16_t>(thread), i, make_bytes(9000 + i, thread)).ok());
      }
    });
  }
  std::array<unsigned, kThreadCount> next = {};
  for (unsigned i = 0; i < kThreadCount * kFrameCount; ++i) {
    const Result<std::optional<Frame>> frame = right.receive();
    ASSERT_TRUE(frame.has_value() && frame->has_value());
    const std::uint16_t thread = (*frame)->kind;
    ASSERT_LT(thread, kThreadCount);
    EXPECT_EQ((*frame)->request, next[thread]);
    EXPECT_TRUE((*frame)->payload == make_bytes(9000 + next[thread], thread));
    ++next[thread];
  }
  for (std::thread& writer : writers) {
    writer.join();
  }
}

TEST(Channel, WorksOnASocketThatDoesNotBlock) {
  std::array<int, 2> ends = {};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
  Channel left = *Channel::adopt(UniqueFd(ends[0]));
  Channel right = *Channel::adopt(UniqueFd(ends[1]));
  EXPECT_EQ(::fcntl(left.descriptor(), F_GETFD), FD_CLOEXEC);
  const std::vector<std::byte> payload = make_bytes(3000000, 1);
  std::thread writer([&] { EXPECT_TRUE(left.send(1, 1, payload).ok()); });
  const Result<std::optional<Frame>> frame = right.receive();
  writer.join();
  ASSERT_TRUE(frame.has_value() && frame->has_value());
  EXPECT_TRUE((*frame)->payload == payload);
}

TEST(Channel, AnswersEmptyAtTheEndBetweenFrames) {
  auto [left, right] = make_channels();
  ASSERT_TRUE(left.send(1, 1, make_bytes(3, 0)).ok());
  { const Channel closed = std::move(left); }
  EXPECT_TRUE(right.receive()->has_value());
  for (int i = 0; i < 2; ++i) {
    const Result<std::optional<Frame>> end = right.receive();
    ASSERT_TRUE(end.has_value()) << end.error().to_string();
    EXPECT_FALSE(end->has_value());
  }
  EXPECT_EQ(right.try_receive().error().code(), ErrorCode::kUnavailable);
}

TEST(Channel, ReportsAPeerThatIsGoneWithoutASignal) {
  auto [left, right] = make_channels();
  { const Channel closed = std::move(right); }
  EXPECT_EQ(left.send(1, 1, {}).code(), ErrorCode::kUnavailable);
  EXPECT_EQ(left.enqueue(1, 1, {}).code(), ErrorCode::kUnavailable);
  EXPECT_EQ(left.flush().code(), ErrorCode::kUnavailable);
  EXPECT_FALSE(left.wants_write());
}

TEST(Channel, DropsTheOutboxOfAPeerThatIsGone) {
  auto [left, right] = make_channels();
  const UniqueFd file = make_file('f');
  const std::ptrdiff_t descriptors = open_descriptor_count();
  for (unsigned i = 0; i < 20; ++i) {
    ASSERT_TRUE(left.enqueue(1, i, make_bytes(50000, i), std::array{file.get()}).ok());
  }
  EXPECT_GT(open_descriptor_count(), descriptors);
  { const Channel closed = std::move(right); }
  EXPECT_EQ(left.flush().code(), ErrorCode::kUnavailable);
  EXPECT_FALSE(left.wants_write());
  EXPECT_EQ(open_descriptor_count(), descriptors - 1);  // The peer's socket.
  EXPECT_EQ(left.receive().error().code(), ErrorCode::kUnavailable);
}

TEST(Channel, WakesAReceiverThatIsShutDown) {
  auto [left, right] = make_channels();
  std::thread reader([&receiver = right] {
    const Result<std::optional<Frame>> end = receiver.receive();
    EXPECT_TRUE(end.has_value() && !end->has_value());
  });
  right.shutdown();
  reader.join();
  EXPECT_FALSE(left.receive()->has_value());
}

TEST(Channel, ReportsAPeerThatDiesInsideAFrame) {
  const HeaderFields header = {.descriptor_count = 1, .payload_bytes = 100};
  std::vector<std::byte> stream(bytes_of(header).begin(), bytes_of(header).end());
  stream.resize(stream.size() + 99);
  for (const std::size_t cut : std::initializer_list<std::size_t>{1, 23, 24, 123}) {
    for (const bool waits : {true, false}) {
      SCOPED_TRACE(testing::Message() << "after " << cut << " bytes, waits " << waits);
      const std::ptrdiff_t descriptors = open_descriptor_count();
      RawPeer peer;
      {
        const UniqueFd file = make_file('f');
        peer.write(std::span(stream).first(cut), std::array{file.get()});
      }
      if (!waits) {
        ASSERT_FALSE(peer.channel->try_receive()->has_value());
      }
      peer.raw.reset();
      const auto result = waits ? peer.channel->receive() : peer.channel->try_receive();
      ASSERT_FALSE(result.has_value());
      EXPECT_EQ(result.error().code(), ErrorCode::kUnavailable);
      EXPECT_EQ(peer.channel->receive().error().code(), ErrorCode::kUnavailable);
      EXPECT_EQ(open_descriptor_count(), descriptors + 1);
    }
  }
}

TEST(Channel, TakesAFrameThatComesByteByByte) {
  RawPeer peer;
  const HeaderFields header = {.descriptor_count = 1, .payload_bytes = 3, .request = 9};
  std::vector<std::byte> stream(bytes_of(header).begin(), bytes_of(header).end());
  stream.resize(stream.size() + 3, std::byte{5});
  const UniqueFd file = make_file('f');
  for (std::size_t i = 0; i < stream.size(); ++i) {
    ASSERT_FALSE(peer.channel->try_receive()->has_value());
    const std::array<int, 1> rights = {file.get()};
    peer.write(std::span(stream).subspan(i, 1),
               i == 0 ? std::span<const int>(rights) : std::span<const int>());
  }
  const Result<std::optional<Frame>> frame = peer.channel->try_receive();
  ASSERT_TRUE(frame.has_value() && frame->has_value());
  EXPECT_EQ((*frame)->request, 9u);
  EXPECT_EQ((*frame)->payload, std::vector(3, std::byte{5}));
  EXPECT_EQ(mark_of((*frame)->descriptors.at(0)), 'f');
}

// Every way to break a frame ends the channel, both ways, and leaks nothing.
TEST(Channel, RefusesBrokenHeaders) {
  const std::array<HeaderFields, 5> broken = {{
      {.magic = 0x464e4951},
      {.magic = 0},
      {.reserved = 1},
      {.payload_bytes = kFramePayloadBytesMax + 1},
      {.descriptor_count = 9},
  }};
  for (const HeaderFields& header : broken) {
    RawPeer peer;
    peer.write(bytes_of(header));
    const Result<std::optional<Frame>> refused = peer.channel->receive();
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kDataLoss) << refused.error().to_string();
    EXPECT_EQ(peer.channel->try_receive().error().code(), ErrorCode::kDataLoss);
    EXPECT_EQ(peer.channel->send(1, 1, {}).code(), ErrorCode::kUnavailable);
    char byte = 0;
    EXPECT_EQ(::recv(peer.raw.get(), &byte, 1, 0), 0);
  }
}

TEST(Channel, RefusesDescriptorsThatWereNotAnnounced) {
  struct Case {
    std::uint16_t announced;
    std::size_t brought;
  };
  for (const Case& one :
       {Case{0, 1}, Case{1, 0}, Case{2, 1}, Case{7, 8}, Case{8, 9}, Case{8, 20}}) {
    SCOPED_TRACE(testing::Message() << one.announced << " announced, " << one.brought);
    const std::ptrdiff_t descriptors = open_descriptor_count();
    RawPeer peer;
    const std::vector<int> numbers(one.brought, peer.raw.get());
    peer.write(bytes_of({.descriptor_count = one.announced}), numbers);
    const Result<std::optional<Frame>> refused = peer.channel->receive();
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kDataLoss);
    EXPECT_EQ(open_descriptor_count(), descriptors + 2);
  }
}

TEST(Channel, RefusesDescriptorsOnThePayload) {
  const std::ptrdiff_t descriptors = open_descriptor_count();
  for (const std::size_t brought : std::initializer_list<std::size_t>{1, 9}) {
    RawPeer peer;
    const std::vector<int> numbers(brought, peer.raw.get());
    peer.write(bytes_of({.payload_bytes = 10}));
    peer.write(make_bytes(10, 0), numbers);
    EXPECT_EQ(peer.channel->receive().error().code(), ErrorCode::kDataLoss);
  }
  EXPECT_EQ(open_descriptor_count(), descriptors);
}

TEST(Channel, RefusesDescriptorsThatThisProcessMayNotOpen) {
  RawPeer peer;
  peer.write(bytes_of({.descriptor_count = 1}), std::array{peer.raw.get()});
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const Result<std::optional<Frame>> refused = peer.channel->receive();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kDataLoss);
}

TEST(Channel, SurvivesAFrameThatItWouldNotSend) {
  auto [left, right] = make_channels();
  const std::vector<std::byte> large(kFramePayloadBytesMax + 1);
  const std::vector<int> many(9, left.descriptor());
  EXPECT_EQ(left.send(1, 1, large).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(left.enqueue(1, 1, large).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(left.send(1, 1, {}, many).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(left.send(1, 1, {}, std::array{-1}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(left.enqueue(1, 1, {}, std::array{-1}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(left.outbox_bytes(), 0u);
  ASSERT_TRUE(left.send(5, 1, {}).ok());
  EXPECT_EQ((*right.receive())->kind, 5);
}

TEST(Channel, KnowsWhoThePeerIs) {
  auto [left, right] = make_channels();
  const Result<PeerCredentials> peer = left.peer();
  ASSERT_TRUE(peer.has_value());
  EXPECT_EQ(peer->pid, ::getpid());
  EXPECT_EQ(peer->uid, ::getuid());
  EXPECT_EQ(peer->gid, ::getgid());
}

TEST(Channel, AdoptsOnlyUnixStreamSockets) {
  EXPECT_EQ(Channel::adopt(UniqueFd()).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Channel::adopt(make_file('f')).error().code(), ErrorCode::kInvalidArgument);
  UniqueFd datagram(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(Channel::adopt(std::move(datagram)).error().code(), ErrorCode::kInvalidArgument);
}

TEST(UniqueFd, ClosesWhatItOwnsOnce) {
  const std::ptrdiff_t before = open_descriptor_count();
  UniqueFd first = make_file('1');
  UniqueFd second = make_file('2');
  EXPECT_EQ(open_descriptor_count(), before + 2);
  second = std::move(first);
  EXPECT_EQ(open_descriptor_count(), before + 1);
  EXPECT_EQ(mark_of(second), '1');
  UniqueFd third(second.release());
  EXPECT_FALSE(second.valid());
  EXPECT_EQ(mark_of(third), '1');
  third.reset();
  EXPECT_EQ(open_descriptor_count(), before);
}

}  // namespace
}  // namespace pinion
