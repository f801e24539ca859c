#pragma once

#include <cstddef>
#include <cstdint>

#include <pinion/core/status.hpp>
#include <pinion/shm/ring.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "memory_mapping.hpp"
#include "ring_core.hpp"

namespace pinion {

/// The first line of each segment of a ring, written by its maker. Checked when an end attaches,
/// and not looked at again.
struct RingHeader {
  std::uint64_t magic = 0;
  std::uint32_t layout_version = 0;
  std::uint32_t side = 0;  ///< Of the end that writes this segment.
  std::uint64_t job = 0;
  std::uint64_t number = 0;
  std::uint32_t capacity = 0;
  std::uint32_t cell_bytes = 0;
  std::uint64_t reserved[3] = {};
};
static_assert(sizeof(RingHeader) == 64);

using RingCellOf = RingCell<RingMemory>;
using RingLinesOf = RingLines<RingMemory>;
static_assert(sizeof(RingCellOf) == 64 && sizeof(RingLinesOf) == 192);
static_assert(RingAtom<RingMemory>::is_always_lock_free);

/// The header, the lines, then the cells.
[[nodiscard]] constexpr std::size_t ring_segment_bytes(std::uint32_t capacity) noexcept {
  return sizeof(RingHeader) + sizeof(RingLinesOf) + capacity * sizeof(RingCellOf);
}

/// Errors: kInvalidArgument, with the field.
[[nodiscard]] Status check_ring_address(const RingAddress& address);

/// The memory that the end `address` writes: no name, all of it reserved, of a size that nobody can
/// change. Precondition: check_ring_address().
[[nodiscard]] Result<UniqueFd> make_ring_segment(const RingAddress& address);

/// The same memory through a descriptor that cannot write.
[[nodiscard]] Result<UniqueFd> open_ring_segment_for_reading(int descriptor);

/// Maps what the end `address` writes, after checking that it is that.
/// Errors: as RingEnd::attach().
[[nodiscard]] Result<MemoryMapping> map_ring_segment(int descriptor, const RingAddress& address,
                                                     bool writable);

}  // namespace pinion
