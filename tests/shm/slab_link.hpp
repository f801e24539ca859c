#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include <gtest/gtest.h>

#include <pinion/shm/channel.hpp>
#include <pinion/shm/segment_table.hpp>
#include <pinion/shm/shared_blob_store.hpp>

namespace pinion {

/// A blob and the number from which its bytes follow: other bytes are found out, even if they are
/// those of another blob.
struct Letter {
  BlobHandle handle;
  std::uint64_t tag = 0;
};

inline constexpr std::size_t kBytePeriod = std::size_t{57} * 256;  // Of byte_at().

inline std::byte byte_at(std::size_t at, std::uint64_t tag) {
  return static_cast<std::byte>((tag >> at % 57) + at * 13);
}

inline void fill_with_bytes_of(std::span<std::byte> bytes, std::uint64_t tag) {
  const std::size_t first = std::min(bytes.size(), kBytePeriod);
  for (std::size_t at = 0; at < first; ++at) {
    bytes[at] = byte_at(at, tag);
  }
  for (std::size_t at = first; at < bytes.size(); at += kBytePeriod) {
    const std::size_t count = std::min(bytes.size() - at, kBytePeriod);
    std::memcpy(bytes.subspan(at).data(), bytes.data(), count);
  }
}

inline bool has_bytes_of(const Blob& blob, std::uint64_t tag) {
  const std::span<const std::byte> bytes = blob.bytes();
  const std::size_t first = std::min(bytes.size(), kBytePeriod);
  for (std::size_t at = 0; at < first; ++at) {
    if (bytes[at] != byte_at(at, tag)) {
      return false;
    }
  }
  const std::span<const std::byte> others = bytes.subspan(first);
  return others.empty() || std::memcmp(bytes.data(), others.data(), others.size()) == 0;
}

/// The frames between a process with slabs and its agent.
enum SlabFrame : std::uint16_t {
  kMake = 1,
  kFetch,
  kRow,
  kGiveBack,
  kKeep,
  kKeepTooLate,
  kRelease,
  kView,
  kGone,
  kFetchSegment,
  kAnswer,
  kError,
  kDone
};

/// The payload of most of them.
struct SlabMessage {
  Letter letter = {};
  Place home = {};
  std::uint64_t size_bytes = 0;
  std::uint32_t number = 0;
};

inline std::span<const std::byte> as_payload(const SlabMessage& message) {
  return std::as_bytes(std::span(&message, 1));
}

inline SlabMessage message_of(const Frame& frame) {
  SlabMessage message;
  EXPECT_EQ(frame.payload.size(), sizeof(message));
  std::memcpy(&message, frame.payload.data(), sizeof(message));
  return message;
}

/// A process's way to the agent.
class SlabLink {
 public:
  explicit SlabLink(Channel channel) : channel_(std::move(channel)) {}

  SlabExchange slabs() {
    return {
        .make = [this](std::uint32_t segment, Place home,
                       std::uint64_t size_bytes) -> Result<SlabGrant> {
          return ask(kMake, {.home = home, .size_bytes = size_bytes, .number = segment});
        },
        .fetch =
            [this](const BlobHandle& handle) {
              return ask(kFetch, {.letter = {.handle = handle}});
            },
        .fetch_row = [this](std::uint32_t client) -> Result<UniqueFd> {
          Result<SlabGrant> row = ask(kRow, {.number = client});
          if (!row) {
            return std::move(row).error();
          }
          return std::move(row->descriptor);
        },
        .give_back =
            [this](std::uint32_t segment) {
              static_cast<void>(channel_.send(kGiveBack, 0, as_payload({.number = segment})).ok());
            }};
  }

  Result<SlabGrant> ask(SlabFrame kind, const SlabMessage& message) {
    PINION_RETURN_IF_ERROR(channel_.send(kind, 1, as_payload(message)));
    return wait_for_answer();
  }

  Result<SlabGrant> wait_for_answer() {
    Result<std::optional<Frame>> frame = channel_.receive();
    if (!frame || !frame->has_value()) {
      return Status(ErrorCode::kUnavailable, "no answer");
    }
    if ((*frame)->kind != kAnswer) {
      return Status(ErrorCode::kNotFound, "refused");
    }
    const SlabMessage answer = message_of(**frame);
    SlabGrant grant = {.home = answer.home, .slot = answer.number};
    if (!(*frame)->descriptors.empty()) {
      grant.descriptor = std::move((*frame)->descriptors[0]);
    }
    return grant;
  }

  void keep(const Letter& letter) { static_cast<void>(ask(kKeep, {.letter = letter}).has_value()); }
  void say_done() { static_cast<void>(channel_.send(kDone, 0, {}).ok()); }
  void wait_for_a_word() { static_cast<void>(channel_.receive().has_value()); }

 private:
  Channel channel_;
};

/// What the agent says to a question. A client that was killed meanwhile takes no answer.
inline void answer(Channel& client, const Result<SlabView>& view) {
  if (!view) {
    static_cast<void>(client.enqueue(kError, 1, {}).ok());
    return;
  }
  const SlabMessage message = {.home = view->home, .number = view->slot};
  const std::span<const int> descriptors =
      view->descriptor >= 0 ? std::span(&view->descriptor, 1) : std::span<const int>();
  static_cast<void>(client.enqueue(kAnswer, 1, as_payload(message), descriptors).ok());
}

/// Does what a client asks of its agent about slabs. False for what is none of it.
inline bool serve_slabs(SegmentTable& table, std::uint32_t client, Channel& channel,
                        const Frame& frame) {
  const SlabMessage message = message_of(frame);
  if (frame.kind == kMake) {
    answer(channel, table.make_slab(client, message.number, message.home, message.size_bytes));
  } else if (frame.kind == kFetch) {
    answer(channel, table.find_slab(client, message.letter.handle));
  } else if (frame.kind == kRow) {
    const Result<int> row = table.find_row(message.number);
    answer(channel, row ? SlabView{.descriptor = *row} : Result<SlabView>(row.error()));
  } else if (frame.kind == kGiveBack) {
    table.give_back_slab(client, message.number);
  } else {
    return false;
  }
  return true;
}

}  // namespace pinion
