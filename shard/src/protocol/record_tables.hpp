#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <pinion/shard/protocol/records.hpp>

namespace pinion::protocol {

/// What the records of a frame take at most; the format has no larger offsets.
inline constexpr std::size_t kPayloadBytesMax = std::size_t{1} << 31;

/// Appends the FlatBuffers form of the records (shard/schema/journal.fbs) to `bytes`.
void encode_records(std::span<const Record> records, std::vector<std::byte>& bytes);

/// Verifies and translates; never reads outside `bytes`, whatever they hold. What is wrong with
/// them, or null.
[[nodiscard]] const char* decode_records(std::span<const std::byte> bytes,
                                         std::vector<Record>& records);

}  // namespace pinion::protocol
