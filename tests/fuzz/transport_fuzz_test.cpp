// What a transport reads from others: greetings, frames, headers of chunks. Whatever the bytes: no
// crash, no read outside them, a pull that is sealed only when it is whole.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "conformance/transport_sides.hpp"
#include "core/fake_link.hpp"
#include "fuzz/mutate.hpp"
#include "transport/engine.hpp"
#include "transport/frames.hpp"
#include "transport/peer_table.hpp"

namespace pinion::detail {
namespace {

using testing_transport::Blobs;
using testing_transport::FakeLink;
using testing_transport::pattern;

std::vector<std::byte> bytes_of(const std::string& text) {
  return testing_transport::bytes_of(text);
}

std::string text_of(const std::vector<std::byte>& bytes) {
  return testing_transport::text_of(bytes);
}

std::vector<std::byte> batch_of(std::uint32_t sequence, const std::vector<std::byte>& frames) {
  const BatchHeader header = {.sequence = sequence,
                              .length = static_cast<std::uint32_t>(frames.size())};
  std::vector<std::byte> batch(sizeof(header) + frames.size());
  std::memcpy(batch.data(), &header, sizeof(header));
  std::ranges::copy(frames, batch.begin() + sizeof(header));
  return batch;
}

Hello hello() {
  return {.host = 3,
          .expected_host = 5,
          .incarnation = 1,
          .window_bytes = 65536,
          .pinion_version = PINION_TEST_VERSION,
          .link_version = "fake link 1"};
}

// Frames that a peer may send, with numbers of pulls and requests that are under way.
std::vector<std::byte> some_frames(const BlobHandle& handle) {
  std::vector<std::byte> frames;
  const std::uint64_t sum = 5;
  append_frame(frames, {.kind = FrameKind::kMessage}, pattern(100, 1));
  append_frame(frames, {.kind = FrameKind::kRequest, .id = 1}, pattern(10, 1));
  append_frame(frames, {.kind = FrameKind::kReply, .id = 1}, pattern(10, 1));
  append_error(frames, FrameKind::kReply, 2, Status(ErrorCode::kAborted, "no"));
  append_frame(frames, {.kind = FrameKind::kCredit, .id = 100});
  append_frame(frames, {.kind = FrameKind::kPull, .id = 4}, std::as_bytes(std::span(&handle, 1)));
  append_frame(frames, {.kind = FrameKind::kPullBytes, .id = 3}, std::as_bytes(std::span(&sum, 1)),
               pattern(50, 1));
  append_frame(frames, {.kind = FrameKind::kPullEnd, .id = 4});
  append_error(frames, FrameKind::kPullEnd, 4, Status(ErrorCode::kAborted, "no"));
  append_frame(frames, {.kind = FrameKind::kPing});
  return frames;
}

TEST(TransportFuzz, Greetings) {
  const std::vector<std::string> examples = {text_of(encode(hello()))};
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    const std::vector<std::byte> bytes = bytes_of(mutator.mutate(examples));
    const Result<Hello> decoded = decode_hello(bytes);
    if (decoded) {
      EXPECT_EQ(encode(*decoded), bytes);
    } else {
      EXPECT_FALSE(decoded.error().message().empty());
    }
  });
}

TEST(TransportFuzz, BatchesOfAPeer) {
  const SystemClock clock{};
  Blobs blobs;
  const BlobHandle large = blobs.add(5, pattern(20'000, 1));
  std::vector<std::byte> greeting;
  append_frame(greeting, {.kind = FrameKind::kHello}, encode(hello()));
  const std::vector<std::string> examples = {text_of(some_frames(large)), text_of(greeting)};
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    FakeLink link;
    PeerTable table;
    LinkTransportOptions options = {.host = 5};
    options.handlers.on_pull = [&](std::uint32_t, const BlobHandle& of) { return blobs.open(of); };
    TransportEngine engine(link, options, table, clock);
    const unsigned sealed_before = blobs.sealed();
    engine.on_accepted(1);
    engine.on_batch(
        1, batch_of(0, mutator.below(4) == 0 ? bytes_of(mutator.mutate(examples)) : greeting));
    engine.advance(clock.now());
    unsigned answered = 0;
    engine.request(3, {}, std::chrono::hours(1),
                   [&](Result<std::vector<std::byte>>) { ++answered; });
    for (const std::uint64_t size : {50u, 20'000u}) {
      const BlobHandle handle = {.length_bytes = size, .host = 3};
      engine.pull(handle, blobs.writer(handle), [&](Result<Blob>) { ++answered; });
    }
    engine.on_batch(1, batch_of(1, bytes_of(mutator.mutate(examples))));
    ChunkHeader header = {.pull = 3, .length = 20'000};
    std::string text(reinterpret_cast<const char*>(&header), sizeof(header));
    text = mutator.mutate({text});
    text.resize(sizeof(header));
    std::memcpy(&header, text.data(), sizeof(header));
    const ChunkTarget target = engine.on_chunk(1, header);
    if (target.keep_alive != nullptr) {
      ASSERT_EQ(target.bytes.size(), header.length);
      std::ranges::fill(target.bytes, std::byte{1});
      engine.on_chunk_arrived(1, header);
    }
    engine.advance(clock.now());
    engine.flush();
    engine.stop();
    EXPECT_EQ(answered, 3u);
    EXPECT_EQ(blobs.sealed(), sealed_before);  // No example has a checksum that is right.
  });
}

}  // namespace
}  // namespace pinion::detail
