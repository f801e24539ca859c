#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shard/protocol/messages.hpp>

namespace pinion::protocol {

/// Changes when an older program can no longer read a message.
inline constexpr std::uint32_t kProtocolVersion = 1;

/// The FlatBuffers form of a message (shard/schema/job.fbs). Allocates.
[[nodiscard]] std::vector<std::byte> encode(const Envelope& envelope, const Message& message);

struct Decoded {
  Envelope envelope;
  Message message;
};

/// Verifies and translates; never reads outside `bytes`, whatever they hold.
/// Errors: kInvalidArgument for bytes that are not a message; kUnimplemented for another protocol
///   version (says both).
[[nodiscard]] Result<Decoded> decode(std::span<const std::byte> bytes);

}  // namespace pinion::protocol
