#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <pinion/core/blob.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/blob_store_identity.hpp>
#include <pinion/shm/segment_table.hpp>

#include "blob_life.hpp"

namespace pinion {

/// A blob of at most this many bytes lies in a slab with others.
inline constexpr std::uint64_t kSlabBlobBytesMax = std::uint64_t{256} << 10;

inline constexpr std::uint64_t kSlabMagic = 0x42414c534e494e50;  // "PNINSLAB" in a dump.
inline constexpr std::uint64_t kRowMagic = 0x53574f524e494e50;   // "PNINROWS".
inline constexpr std::uint32_t kSlabLayoutVersion = 1;

inline constexpr std::uint32_t kSlabDescriptorCount = 1024;  // The first is not used.
inline constexpr std::uint32_t kSlabSlotCount = 1024;        // Slabs of a host at one time.
inline constexpr std::uint32_t kClientSlotCount = kLivingClientCountMax;
inline constexpr std::uint64_t kSlabPageBytes = 4096;
inline constexpr std::uint64_t kBlobAlignment = 64;

/// The first page of a slab. The agent writes it, before anybody else has the slab but for the
/// words that say otherwise.
struct SlabHeader {
  std::uint64_t magic = 0;
  std::uint64_t job = 0;
  std::uint64_t size_bytes = 0;
  std::uint32_t layout_version = 0;
  std::uint32_t epoch = 0;
  std::uint32_t host = 0;
  std::uint32_t segment = 0;
  std::uint32_t slot = 0;    // Where its counters are in every row.
  std::uint32_t client = 0;  // Whose slab it is.
  std::uint64_t home = 0;
  std::uint64_t reserved = 0;

  /// 1 once the agent has let go of the slab. Release pairs with the acquire of readers.
  alignas(64) std::atomic<std::uint32_t> closed = 0;

  /// Slots below this may have a subscriber. Sequentially consistent, as `subscribers`: both are
  /// stored before a client has the slab, and so before it sets a counter.
  std::atomic<std::uint32_t> subscriber_slot_count = 0;

  /// By slot: the number of the client, plus 1, that may have references; else 0.
  alignas(64) std::array<std::atomic<std::uint32_t>, kClientSlotCount> subscribers = {};
};
static_assert(sizeof(SlabHeader) <= kSlabPageBytes);

/// One blob of a slab. No checksum: only its writer and the agent can write here, and readers hold
/// what they find against the handle and the size of the slab.
struct alignas(64) SlabDescriptor {
  BlobLife<>::Word life = 0;
  // The generation that the job keeps, or that the agent copies for another host; else 0. Written
  // by the agent.
  BlobLife<>::Word pinned = 0;

  // Written by the writer before it seals, read with a reference: relaxed is enough, `life` orders
  // them.
  std::atomic<std::uint64_t> offset = 0;
  std::atomic<std::uint64_t> length_bytes = 0;
  std::atomic<std::uint64_t> home = 0;
  std::array<std::uint64_t, 3> reserved = {};
};
static_assert(sizeof(SlabDescriptor) == 64);

/// The first page of a row. The agent writes it once.
struct RowHeader {
  std::uint64_t magic = 0;
  std::uint64_t job = 0;
  std::int64_t process = 0;
  std::uint32_t layout_version = 0;
  std::uint32_t client = 0;
  std::uint32_t client_slot = 0;
  std::uint32_t first_segment = 0;  // Of the numbers that are this client's.
  std::uint32_t segment_count = 0;
  std::uint32_t reserved = 0;
};

inline constexpr std::uint64_t kSlabControlBytes =
    kSlabPageBytes + kSlabDescriptorCount * sizeof(SlabDescriptor);
inline constexpr std::uint64_t kRowSlabBytes =
    kSlabDescriptorCount * sizeof(BlobLife<>::Counter);  // The counters of one slab.
inline constexpr std::uint64_t kRowBytes = kSlabPageBytes + kSlabSlotCount * kRowSlabBytes;
static_assert(kRowSlabBytes % kSlabPageBytes == 0 && kSlabControlBytes % kSlabPageBytes == 0);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<std::uint32_t>::is_always_lock_free);

/// Whether a blob of a slab of `size_bytes` can lie there, whatever its writer says.
[[nodiscard]] constexpr bool can_lie_at(std::uint64_t offset, std::uint64_t length_bytes,
                                        std::uint64_t size_bytes) noexcept {
  return offset >= kSlabControlBytes && offset <= size_bytes &&
         length_bytes <= size_bytes - offset && offset % kBlobAlignment == 0;
}

[[nodiscard]] constexpr std::uint64_t packed(Place place) noexcept {
  return std::uint64_t{place.host} << 32 | std::uint64_t{place.index} << 8 |
         static_cast<std::uint64_t>(place.kind);
}

[[nodiscard]] constexpr Place unpacked(std::uint64_t home) noexcept {
  return {.kind = (home & 0xff) == 0 ? PlaceKind::kNuma : PlaceKind::kDevice,
          .index = static_cast<std::uint16_t>(home >> 8 & 0xffff),
          .host = static_cast<std::uint32_t>(home >> 32)};
}

/// Whether the life of a descriptor is that of the sealed blob that the handle names.
/// Errors: kFailedPrecondition for a handle of another use of the descriptor; kNotFound when the
///   blob is not sealed or no longer there.
Status check_life(std::uint64_t life, const BlobHandle& handle);

/// Whether a handle can name a blob in a slab of this store.
/// Errors: kFailedPrecondition for another job, epoch or host, and for generation 0;
///   kNotFound for an index that no slab has.
Status check_slab_handle(const BlobStoreIdentity& identity, const BlobHandle& handle);

}  // namespace pinion
