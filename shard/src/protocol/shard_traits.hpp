#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pinion/shard/protocol/messages.hpp>

namespace pinion::protocol {

/// What shards have beside what their structs say, a byte a shard: the priority in the two lower
/// bits, then whether it has no CPU body. None when no shard has any.
[[nodiscard]] std::vector<std::uint8_t> pack_traits(const std::vector<ShardEntry>& shards);

/// Adds them to the shards. What is wrong with them, or null.
[[nodiscard]] const char* unpack_traits(std::span<const std::uint8_t> traits,
                                        std::vector<ShardEntry>& shards);

}  // namespace pinion::protocol
