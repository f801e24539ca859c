#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pinion::detail {

/// A checksum of `bytes` that finds what links and memory do to them, not what an attacker does:
/// XXH3, 64 bits. The same on every machine.
[[nodiscard]] std::uint64_t checksum(std::span<const std::byte> bytes) noexcept;

}  // namespace pinion::detail
