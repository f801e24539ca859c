#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pinion::protocol {

/// The CRC-32C (Castagnoli) of `bytes`; or of all that `before` is the checksum of, and then these.
///
/// Thread safety: free.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes,
                                   std::uint32_t before = 0) noexcept;

/// The same without the processor's help, for machines that have none.
[[nodiscard]] std::uint32_t crc32c_by_table(std::span<const std::byte> bytes,
                                            std::uint32_t before = 0) noexcept;

}  // namespace pinion::protocol
