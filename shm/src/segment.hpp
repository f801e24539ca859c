#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <pinion/core/blob.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/blob_memory.hpp>
#include <pinion/shm/blob_store_identity.hpp>
#include <pinion/shm/segment_table.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

inline constexpr std::uint64_t kSegmentMagic = 0x424f4c424e494e50;  // "PNINBLOB" in a dump.

/// The first bytes of every segment; the payload follows. Written once, before the seals, so that a
/// descriptor that was mixed up is found out and a stray segment can be told apart in a core dump.
/// A writer that dies before the seals leaves a nameless file that nobody else has.
struct SegmentHeader {
  std::uint64_t magic = 0;
  std::uint32_t layout_version = 0;
  std::uint32_t epoch = 0;
  std::uint64_t job = 0;
  std::uint64_t generation = 0;
  std::uint64_t length_bytes = 0;
  std::uint32_t host = 0;
  std::uint32_t segment = 0;
  std::uint32_t index = 0;
  std::uint32_t home_host = 0;
  std::uint16_t home_index = 0;
  std::uint8_t home_kind = 0;
  std::uint8_t reserved_byte = 0;
  std::uint32_t reserved_word = 0;
};
// 64 bytes also keep the payload on a cache line of its own.
static_assert(sizeof(SegmentHeader) == 64 && std::is_trivially_copyable_v<SegmentHeader> &&
              std::has_unique_object_representations_v<SegmentHeader>);

/// More than the address space of a process: larger is a mistake, and sums of it do not overflow.
inline constexpr std::uint64_t kBlobLengthMax = std::uint64_t{1} << 47;

/// The generation and the index of a blob that has a segment of its own.
inline constexpr std::uint64_t kOnlyGeneration = 1;
inline constexpr std::uint32_t kOnlyIndex = 0;

[[nodiscard]] constexpr std::uint64_t segment_size_bytes(std::uint64_t length_bytes) noexcept {
  return sizeof(SegmentHeader) + length_bytes;
}

/// A nameless file of `size_bytes` that can be sealed. No memory is reserved. `label` is what
/// /proc calls it.
Result<UniqueFd> create_segment(std::uint64_t size_bytes, const char* label = "pinion-blob");

/// A file of a BlobMemory that has no name any more.
struct BlobFile {
  UniqueFd writer = {};
  UniqueFd reader = {};  // Opened where it can never be opened for writing again.
};

/// A file of `size_bytes` with huge pages. No memory is reserved.
Result<BlobFile> create_blob_file(const BlobMemory& memory, std::uint64_t size_bytes);

/// Takes all the memory (or disk space) of the file, so that writing to a mapping never fails.
/// Errors: kResourceExhausted when the system has no such memory.
Status reserve_segment(int descriptor, std::uint64_t size_bytes);

[[nodiscard]] SegmentHeader make_segment_header(const BlobHandle& handle, Place home) noexcept;
Status write_segment_header(int descriptor, const BlobHandle& handle, Place home);

/// Writes the header and makes the whole file immutable for everybody.
/// Errors: kFailedPrecondition when somebody still has it mapped writable.
Status seal_segment(int descriptor, const BlobHandle& handle, Place home);

/// Whether the descriptor is a sealed segment, or a finished file, of exactly this blob.
/// Errors: kFailedPrecondition when it can still be written to, kInvalidArgument when the length
/// differs,
///   kDataLoss when its header names another blob.
Status check_segment(int descriptor, const BlobHandle& handle, Place home);

/// Errors: kFailedPrecondition for a handle of another job, epoch or host.
Status check_identity(const BlobStoreIdentity& identity, const BlobHandle& handle);

/// Whether a handle can name a blob that has a segment of its own.
/// Errors: kFailedPrecondition for another job, epoch, host or generation, kNotFound for an index
///   that no segment has.
Status check_handle(const BlobStoreIdentity& identity, const BlobHandle& handle);

/// Whether a handle can name a blob of another one of the job's hosts.
/// Errors: kFailedPrecondition for another job or a later epoch, for what this host itself has and
///   for a host that the job does not have; kResourceExhausted for more bytes than can be mapped.
Status check_copy_handle(const BlobStoreIdentity& identity, std::uint32_t host_count,
                         const BlobHandle& handle);

/// Errors: kInvalidArgument when the two lengths differ.
Status check_length(const BlobHandle& handle, const BlobHandle& known);

/// Errors: kInvalidArgument for a place that is not memory of this host.
Status check_home(const BlobStoreIdentity& identity, Place home);

/// Errors: kResourceExhausted for more bytes than any process can map.
Status check_size(std::uint64_t size_bytes);

/// Where the bytes of a segment lie, by a descriptor of its own.
[[nodiscard]] Result<BlobFilePart> payload_of(int descriptor, Place home);

/// Reads all of `bytes` from a file. Errors: those of the system.
Status read_payload(int descriptor, std::uint64_t offset, std::span<std::byte> bytes);

/// A blob whose bytes are a copy of those that the file has from `offset` on.
/// Errors: those of read_payload().
[[nodiscard]] Result<Blob> copy_payload(int descriptor, std::uint64_t offset,
                                        const BlobHandle& handle, Place home);

[[nodiscard]] Status no_such_blob(const BlobHandle& handle);

}  // namespace pinion
