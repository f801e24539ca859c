#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// What a store holds at one moment. A snapshot.
struct BlobStoreUsage {
  std::uint64_t blob_count = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t spilled_bytes = 0;  ///< In files, because memory had no room for them.
};

/// Makes blobs and finds them again by handle. Extension point: every implementation passes
/// tests/conformance/blob_store_conformance.hpp.
///
/// Thread safety: all members may be called from any thread.
class IBlobStore {
 public:
  virtual ~IBlobStore() = default;

  /// Memory for a blob of exactly `size_bytes` (0 is a blob too) at `place`, zeroed and reserved:
  /// writing to it never fails for want of memory. A store that spills gives it a file instead when
  /// the budget has no room.
  /// Errors: kResourceExhausted when the budget or the system has no such memory; kInvalidArgument
  ///   for a place this host does not have.
  [[nodiscard]] virtual Result<BlobWriter> create(std::uint64_t size_bytes, Place place) = 0;

  /// The blob behind a handle, mapped read-only.
  /// Blocks: for a round trip to the owner of the memory, the first time.
  /// Errors: kNotFound when no such blob exists, is sealed or is kept; kFailedPrecondition for a
  ///   handle of another job, epoch, host or generation; kInvalidArgument when the length differs.
  [[nodiscard]] virtual Result<Blob> open(const BlobHandle& handle) = 0;

  /// Begins to open parts of blobs; what is returned is called once to wait for them, and may be
  /// dropped instead. Of a blob that another host has, no other bytes are brought here, and these
  /// for this caller alone, all at once; a store that cannot do that opens the whole blobs. Each
  /// part is a blob with the handle of that which it is a part of.
  /// Lifetime: the call must not outlive the store. Blocks: only that call, until all is here.
  /// Errors, by that call: those of open(); kInvalidArgument for bytes that a blob does not have;
  ///   kResourceExhausted when there is no room for them.
  [[nodiscard]] virtual std::function<Result<std::vector<Blob>>()> open_parts(
      std::vector<BlobPart> parts) {
    return [this, parts = std::move(parts)]() -> Result<std::vector<Blob>> {
      std::vector<Blob> blobs;
      blobs.reserve(parts.size());
      for (const BlobPart& part : parts) {
        Result<Blob> blob = open_part_of_whole(part);
        if (!blob) {
          return std::move(blob).error();
        }
        blobs.push_back(*std::move(blob));
      }
      return blobs;
    };
  }

  /// Says that nobody reads these bytes of a sealed blob again, so that the whole pages among them
  /// can go back before the blob does. What is found there afterwards means nothing. A store that
  /// cannot do that keeps them; a handle that it does not know is ignored.
  /// Precondition: no byte is discarded twice.
  virtual void discard(const BlobHandle& handle, std::uint64_t offset, std::uint64_t length_bytes) {
    static_cast<void>(handle);
    static_cast<void>(offset);
    static_cast<void>(length_bytes);
  }

  [[nodiscard]] virtual BlobStoreUsage usage() const = 0;

 protected:
  /// A part of a blob that is opened as a whole.
  [[nodiscard]] Result<Blob> open_part_of_whole(const BlobPart& part) {
    if (!part.is_inside()) {
      return Status(ErrorCode::kInvalidArgument, "bytes behind the end of a blob were asked for");
    }
    Result<Blob> whole = open(part.blob);
    return whole ? Blob::part_of(*std::move(whole), part.offset, part.length_bytes)
                 : std::move(whole);
  }
};

}  // namespace pinion
