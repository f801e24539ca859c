#include <pinion/shm/channel.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>

#include <gtest/gtest.h>

#include "shm_host.hpp"

// Real processes: a child is a rank that seals blobs, the test is its agent and, once the child is
// dead, the reader.

namespace pinion {
namespace {

enum Kind : std::uint16_t { kPublish = 1, kAnswer = 2, kDone = 3, kMapped = 4 };

struct Publication {
  BlobHandle handle;
  Place home;
};

constexpr std::uint32_t kClient = 1;
constexpr std::size_t kLength = 100000;

std::span<const std::byte> as_payload(const Publication& publication) {
  return std::as_bytes(std::span(&publication, 1));
}

// The child's exchange: a frame to the agent with the descriptor, and its answer.
SegmentExchange exchange_over(Channel& channel) {
  return {.publish =
              [&channel](const BlobHandle& handle, Place home, int descriptor) {
                const Publication publication = {handle, home};
                PINION_RETURN_IF_ERROR(
                    channel.send(kPublish, 1, as_payload(publication), std::array{descriptor}));
                const Result<std::optional<Frame>> answer = channel.receive();
                const bool taken = answer && answer->has_value() && (*answer)->kind == kAnswer;
                return taken ? Status() : Status(ErrorCode::kUnavailable, "no answer");
              },
          .fetch = [](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
            return Status(ErrorCode::kNotFound, "nothing is fetched here");
          }};
}

// A forked child with a channel to it. It never returns into the test and is always reaped.
class Child {
 public:
  explicit Child(const std::function<void(Channel&)>& body) {
    auto [ours, theirs] = *Channel::create_pair();
    pid_ = ::fork();
    EXPECT_GE(pid_, 0);
    if (pid_ == 0) {
      { const Channel closed = std::move(ours); }
      body(theirs);
      ::_exit(0);
    }
    channel_.emplace(std::move(ours));
  }
  ~Child() { kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  Channel& channel() { return *channel_; }

  void kill() {
    if (pid_ > 0) {
      EXPECT_EQ(::kill(pid_, SIGKILL), 0);
      int status = 0;
      EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "status " << status;
      pid_ = -1;
    }
  }

 private:
  pid_t pid_ = -1;
  std::optional<Channel> channel_;
};

// Waits for a frame that never comes, so that only the signal ends the child.
void wait_to_be_killed(Channel& channel) {
  static_cast<void>(channel.receive());
}

void fill(std::span<std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>((i * 7) & 0xff);
  }
}

bool is_filled(std::span<const std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != static_cast<std::byte>((i * 7) & 0xff)) {
      return false;
    }
  }
  return bytes.size() == kLength;
}

std::unique_ptr<IBlobStore> child_store(Channel& channel, TableAgent& agent) {
  return make_shared_blob_store(agent.options(kClient, kLength), exchange_over(channel));
}

void seal_one_blob(Channel& channel, TableAgent& agent) {
  const auto store = child_store(channel, agent);
  Result<BlobWriter> writer = store->create(kLength, kTestPlace);
  fill(writer->bytes());
  const Result<Blob> blob = writer->seal();
  static_cast<void>(channel.send(blob ? kDone : kAnswer, 0, {}));
  wait_to_be_killed(channel);
}

// Receives one publication, gives it to the table and returns its handle.
BlobHandle take_publication(Channel& channel, SegmentTable& table) {
  Result<std::optional<Frame>> frame = channel.receive();
  EXPECT_TRUE(frame.has_value() && frame->has_value());
  Publication publication;
  EXPECT_EQ((*frame)->payload.size(), sizeof(publication));
  std::memcpy(&publication, (*frame)->payload.data(), sizeof(publication));
  const Status taken = table.publish(kClient, publication.handle, publication.home,
                                     std::move((*frame)->descriptors.at(0)));
  EXPECT_TRUE(taken.ok()) << taken.to_string();
  return publication.handle;
}

TEST(DeadRank, LeavesAKeptBlobReadable) {
  const std::ptrdiff_t descriptors = open_descriptor_count();
  {
    TableAgent agent(16);
    Child rank([&](Channel& channel) { seal_one_blob(channel, agent); });
    const BlobHandle handle = take_publication(rank.channel(), agent.table());
    ASSERT_TRUE(rank.channel().send(kAnswer, 1, {}).ok());
    const Result<std::optional<Frame>> done = rank.channel().receive();
    ASSERT_TRUE(done.has_value() && done->has_value());
    ASSERT_EQ((*done)->kind, kDone);
    ASSERT_TRUE(agent.table().keep(handle).ok());

    rank.kill();
    const Result<std::optional<Frame>> end = rank.channel().receive();
    EXPECT_TRUE(end.has_value() && !end->has_value());
    agent.table().client_gone(kClient);

    const auto reader = agent.make_store(2, 0);
    const Result<Blob> blob = reader->open(handle);
    ASSERT_TRUE(blob.has_value()) << blob.error().to_string();
    EXPECT_TRUE(is_filled(blob->bytes()));
    agent.table().release(handle);
    EXPECT_TRUE(is_filled(blob->bytes()));
  }
  EXPECT_EQ(open_descriptor_count(), descriptors);
}

TEST(DeadRank, LosesABlobThatWasNotKept) {
  const std::ptrdiff_t descriptors = open_descriptor_count();
  TableAgent agent(16);
  {
    Child rank([&](Channel& channel) { seal_one_blob(channel, agent); });
    const BlobHandle handle = take_publication(rank.channel(), agent.table());
    EXPECT_EQ(agent.table().usage().memory_bytes, kLength);
    rank.kill();
    agent.table().client_gone(kClient);
    EXPECT_EQ(agent.table().keep(handle).code(), ErrorCode::kNotFound);
    EXPECT_EQ(agent.make_store(2, 0)->open(handle).error().code(), ErrorCode::kNotFound);
  }
  EXPECT_EQ(agent.table().usage().memory_bytes, 0u);
  EXPECT_EQ(open_descriptor_count(), descriptors);
}

// A publication that the dead rank had under way when its death was already known.
TEST(DeadRank, PublishesNothingAfterwards) {
  TableAgent agent(16);
  Child rank([&](Channel& channel) { seal_one_blob(channel, agent); });
  pollfd readable = {.fd = rank.channel().descriptor(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&readable, 1, -1), 1);
  rank.kill();
  agent.table().client_gone(kClient);
  Result<std::optional<Frame>> frame = rank.channel().receive();
  ASSERT_TRUE(frame.has_value() && frame->has_value());
  Publication publication;
  std::memcpy(&publication, (*frame)->payload.data(), sizeof(publication));
  EXPECT_EQ(agent.table()
                .publish(kClient, publication.handle, publication.home,
                         std::move((*frame)->descriptors.at(0)))
                .code(),
            ErrorCode::kFailedPrecondition);
}

TEST(DeadRank, LeavesNothingOfABlobThatWasBeingWritten) {
  TableAgent agent(16);
  Child rank([&](Channel& channel) {
    const auto store = child_store(channel, agent);
    Result<BlobWriter> writer = store->create(kLength, kTestPlace);
    fill(writer->bytes());
    static_cast<void>(channel.send(kMapped, 0, {}));
    wait_to_be_killed(channel);
  });
  ASSERT_EQ((*rank.channel().receive())->kind, kMapped);
  rank.kill();
  EXPECT_FALSE(rank.channel().receive()->has_value());
  agent.table().client_gone(kClient);
  EXPECT_EQ(agent.table().usage().blob_count, 0u);
}

std::optional<Blob> seal_filled(IBlobStore& store) {
  Result<BlobWriter> writer = store.create(kLength, kTestPlace);
  fill(writer->bytes());
  Result<Blob> sealed = writer->seal();
  return sealed ? std::optional(*std::move(sealed)) : std::nullopt;
}

// The child holds the descriptor that the agent passed, after the agent has let go of the blob.
TEST(DeadAgent, LeavesMappedBlobsReadable) {
  auto agent = std::make_unique<TableAgent>(16);
  auto store = agent->make_store(0, kLength);
  std::optional<Blob> sealed = seal_filled(*store);
  ASSERT_TRUE(sealed.has_value());
  const BlobHandle handle = sealed->handle();
  Child reader([&](Channel& channel) {
    const auto reading = make_shared_blob_store(
        {.identity = kTestIdentity},
        {.publish = [](const BlobHandle&, Place, int) { return Status(); },
         .fetch = [&](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
           Result<std::optional<Frame>> frame = channel.receive();
           return std::pair(std::move((*frame)->descriptors.at(0)), kTestPlace);
         }});
    const Result<Blob> blob = reading->open(handle);
    static_cast<void>(channel.send(kMapped, 0, {}));
    static_cast<void>(channel.receive());
    static_cast<void>(channel.send(blob && is_filled(blob->bytes()) ? kDone : kAnswer, 0, {}));
    wait_to_be_killed(channel);
  });
  const int descriptor = agent->table().find(handle)->first;
  ASSERT_TRUE(reader.channel().send(kAnswer, 0, {}, std::array{descriptor}).ok());
  ASSERT_EQ((*reader.channel().receive())->kind, kMapped);
  // Whoever made it tells this agent when it lets go, so it does that before.
  sealed.reset();
  store.reset();
  agent.reset();
  ASSERT_TRUE(reader.channel().send(kAnswer, 0, {}).ok());
  EXPECT_EQ((*reader.channel().receive())->kind, kDone);
}

// A fork between create() and seal() must not make the seal impossible.
TEST(ForkedChild, DoesNotHoldUpASeal) {
  TableAgent agent(16);
  const auto store = agent.make_store(0, kLength);
  Result<BlobWriter> writer = store->create(kLength, kTestPlace);
  ASSERT_TRUE(writer.has_value());
  Child child([](Channel& channel) { wait_to_be_killed(channel); });
  fill(writer->bytes());
  const Result<Blob> sealed = writer->seal();
  ASSERT_TRUE(sealed.has_value()) << sealed.error().to_string();
  EXPECT_TRUE(is_filled(sealed->bytes()));
}

}  // namespace
}  // namespace pinion
